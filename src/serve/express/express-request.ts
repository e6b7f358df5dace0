// The express lane answers the one kind of request that clients send by the thousand, GET of a narinfo that is in memory, on the socket
// itself; whatever else comes in goes to node:http untouched. What it does not recognize with certainty is not its business.

export interface ExpressRequest {
  /** Where a well-formed request has the hash part; 32 characters, unchecked. */
  readonly hashPart: string;
  /** All header fields, with the empty line at their end. */
  readonly fields: string;
}

/** Recognizes `GET /<32 characters>.narinfo` in what was received, one character a byte. What it wants to be told else is up to `isPlain`. */
export function asExpressRequest(text: string): ExpressRequest | undefined {
  if (!text.startsWith(START) || !text.startsWith(END, HASH_END)) return undefined;
  return { hashPart: text.slice(START.length, HASH_END), fields: text.slice(HASH_END + END.length) };
}

/**
 * Whether these fields, with the empty line at their end, are those of one whole request that a GET can be answered without looking at:
 * one Host, no body, no condition, no range, the connection stays open, and nothing follows.
 */
export function arePlain(fields: string): boolean {
  return areFields(fields, (name) => HARMLESS.has(name));
}

/** Whether what was received is one whole request without a body, after whose answer the connection is as before it. */
export function isWholeRequest(text: string): boolean {
  const line = REQUEST_LINE.exec(text);
  return line !== null && areFields(text.slice(line[0].length), (name) => !FRAMING.has(name));
}

const START = 'GET /';
const END = '.narinfo HTTP/1.1\r\n';
const HASH_END = START.length + 32;
const REQUEST_LINE = /^(?:GET|HEAD) [\x21-\x7e]+ HTTP\/1\.1\r\n/;
const FIELD = /^([A-Za-z][A-Za-z0-9-]*):[ \t]*([\x20-\x7e\t]*)$/;

/** Known not to change what the answer is. */
const HARMLESS: ReadonlySet<string> = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'cache-control',
  'forwarded',
  'user-agent',
  'via',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
]);

/** Known, or likely, to say that more follows or that the connection changes. */
const FRAMING: ReadonlySet<string> = new Set([
  'content-length',
  'expect',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Stricter than a server must be (RFC 9112, 5): whatever is unusual is left to the one that is not in a hurry. */
function areFields(fields: string, allows: (name: string) => boolean): boolean {
  if (!fields.endsWith('\r\n\r\n')) return false;
  let hosts = 0;
  for (const line of fields.slice(0, -4).split('\r\n')) {
    const field = FIELD.exec(line);
    if (field === null) return false;
    const [, name = '', value = ''] = field;
    const known = name.toLowerCase();
    if (known === 'host') hosts += 1;
    else if (known === 'connection' ? value.trim().toLowerCase() !== 'keep-alive' : !allows(known)) return false;
  }
  return hosts === 1;
}
