import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { TempDir } from './temp-dir.ts';

export interface SelfMadeAuthority {
  /** PEM; the certificate speaks for 127.0.0.1, localhost and the hosts that were named, and vouches for itself. */
  readonly key: string;
  readonly cert: string;
  readonly certFile: string;
}

/** A certificate that nobody trusts who has not been told to. */
export async function makeAuthority(
  directory: Pick<TempDir, 'join'>,
  name = 'authority',
  hosts: readonly string[] = [],
): Promise<SelfMadeAuthority> {
  const keyFile = directory.join(`${name}.key`);
  const certFile = directory.join(`${name}.crt`);
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const names = ['DNS:localhost', 'IP:127.0.0.1', ...hosts.map((host) => `DNS:${host}`)];
  args.push('-subj', `/CN=${name}`, '-addext', `subjectAltName=${names.join()}`);
  await promisify(execFile)('openssl', [...args, '-keyout', keyFile, '-out', certFile]);
  return { key: await readFile(keyFile, 'utf8'), cert: await readFile(certFile, 'utf8'), certFile };
}
