// Use cases report what they do through a callback of these events; src/cli turns them into bars, lines or JSON.

export type ProgressEvent =
  /** A new stretch of work begins; totals are for this phase, bytes where they are known. */
  | { readonly type: 'phase'; readonly phase: string; readonly totalItems?: number; readonly totalBytes?: number }
  /** Work done since the last event of the current phase. */
  | { readonly type: 'advance'; readonly items?: number; readonly bytes?: number }
  /** The totals of the current phase have become known or have grown. */
  | { readonly type: 'totals'; readonly totalItems?: number; readonly totalBytes?: number }
  /** Something that the user should read, but that does not stop the work. */
  | { readonly type: 'notice'; readonly message: string };

export type OnProgress = (event: ProgressEvent) => void;

export const ignoreProgress: OnProgress = () => {};
