import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import tls from 'node:tls';
import { NixferryError } from '../errors.ts';
import { LIMITS } from '../limits.ts';

/** A file of trusted authorities, and who named it. */
export interface CaFile {
  readonly file: string;
  readonly namedBy: string;
}

/** What replaces the usual authorities, NIX_SSL_CERT_FILE before SSL_CERT_FILE as in Nix, and what comes on top of them. */
export interface CaFiles {
  readonly usual: CaFile | undefined;
  readonly additional: CaFile | undefined;
}

export function chooseCaFiles(
  additional: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): CaFiles {
  const namedBy = ['NIX_SSL_CERT_FILE', 'SSL_CERT_FILE'].find((name) => (environment[name] ?? '') !== '');
  return {
    usual: namedBy === undefined ? undefined : { file: environment[namedBy] ?? '', namedBy },
    additional: additional === undefined ? undefined : { file: additional, namedBy: '--ca-file' },
  };
}

/**
 * A TLS context that trusts the usual authorities and the additional ones. Where no file replaces the usual ones they
 * are those that come with Node together with those of the system, where a company's own authority lives.
 * Throws `usage` when a file cannot be read or holds no certificate.
 */
export async function openTrust(files: CaFiles): Promise<tls.SecureContext> {
  return tls.createSecureContext({ ca: await readTrustedCertificates(files) });
}

/** The same authorities for other programs, each in PEM. Throws as `openTrust`. */
export async function readTrustedCertificates({ usual, additional }: CaFiles): Promise<string[]> {
  const certificates = new Set([
    ...(usual === undefined ? builtinCertificates() : await readCertificates(usual)),
    ...(additional === undefined ? [] : await readCertificates(additional)),
  ]);
  return [...certificates];
}

function builtinCertificates(): string[] {
  return [...tls.getCACertificates('default'), ...tls.getCACertificates('system')];
}

async function readCertificates({ file, namedBy }: CaFile): Promise<string[]> {
  const hint = `give ${namedBy} the path of a PEM file with certificates`;
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    throw new NixferryError('usage', `${file}: cannot read the certificate file`, { hint, cause: error });
  }
  const certificates = bytes.length > LIMITS.caFileBytes ? [] : splitCertificates(bytes.toString('latin1'));
  // createSecureContext passes over what it cannot read in silence.
  const readable = certificates.filter(isReadable);
  if (readable.length === 0) throw new NixferryError('usage', `${file}: holds no readable certificate`, { hint });
  return readable;
}

function isReadable(certificate: string): boolean {
  try {
    return new X509Certificate(certificate).raw.length > 0;
  } catch {
    return false;
  }
}

// The comments in distributions' bundles are no concern of createSecureContext.
function splitCertificates(text: string): string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
}
