/** Flaws of old commits, which hurt nobody; large repositories have some. Names as in git's fsck-msgids. */
export const HARMLESS_GIT_FLAWS = [
  'badTimezone',
  'missingSpaceBeforeDate',
  'zeroPaddedFilemode',
  'missingSpaceBeforeEmail',
  'badEmail',
] as const;
