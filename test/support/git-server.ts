// Git over HTTP as hosts on the internet speak it (shallow clones included), by git's own `http-backend`.

import { spawn } from 'node:child_process';
import type { IncomingMessage, ServerResponse } from 'node:http';
import path from 'node:path';
import { toolEnvironment } from './run.ts';

/** Answers what a git client asks of `<directory>/….git`; resolves to false, with nothing answered, for any other request. */
export async function answerGit(
  directory: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  const { pathname, search } = new URL(request.url ?? '/', 'http://localhost');
  if (!/^\/git\/[a-z-]+\.git\/(?:info\/refs|git-upload-pack)$/.test(pathname)) return false;
  const child = spawn('git', ['http-backend'], {
    env: toolEnvironment({
      GIT_PROJECT_ROOT: path.resolve(directory),
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: pathname,
      QUERY_STRING: search.slice(1),
      REQUEST_METHOD: request.method ?? 'GET',
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
    }),
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  // A client that hangs up early is no reason to fail.
  child.stdin.on('error', () => {});
  request.pipe(child.stdin);
  const answer = Buffer.concat(await Array.fromAsync(child.stdout as AsyncIterable<Buffer>));
  const end = answer.indexOf('\r\n\r\n');
  if (end < 0) {
    response.writeHead(500).end();
    return true;
  }
  let status = 200;
  for (const line of answer.toString('latin1', 0, end).split('\r\n')) {
    const [name = '', value = ''] = line.split(/:\s*/, 2);
    if (name.toLowerCase() === 'status') status = Number.parseInt(value, 10);
    else response.setHeader(name, value);
  }
  response.writeHead(status).end(answer.subarray(end + 4));
  return true;
}
