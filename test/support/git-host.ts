// A host of repositories on the internet, as a program: `node git-host.ts DIRECTORY ADDRESS KEY CERTIFICATE` answers at its port 443.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { answerGit } from './git-server.ts';

const [directory = '', address = '', key = '', cert = ''] = process.argv.slice(2);
const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, async (request, response) => {
  process.stdout.write(`${request.method} ${request.url} ${request.headers.authorization ?? 'anonymous'}\n`);
  if (!(await answerGit(directory, request, response))) response.writeHead(404).end();
});
server.listen(443, address, () => process.stdout.write('listening\n'));
