/**
 * A URL as it may stand in a message or a log: without user name, password, query values and fragment. Queries of
 * presigned addresses are credentials, too. What is no URL at all is not shown.
 */
export function showUrl(url: URL | string): string {
  let shown: URL;
  try {
    shown = new URL(url);
  } catch {
    return 'an address that is no URL';
  }
  shown.username = '';
  shown.password = '';
  shown.hash = '';
  if (shown.search !== '') shown.search = '?…';
  return shown.href.replace('?%E2%80%A6', '?…');
}
