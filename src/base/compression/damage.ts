import { NixferryError } from '../errors.ts';
import type { Compression } from './compression.ts';

/** The error for data that a decoder refuses; `reason` follows the compression's name. */
export function damaged(compression: Compression, reason: string, cause?: unknown): NixferryError {
  return new NixferryError('damage', `damaged ${compression} data: ${reason}`, { cause });
}

/** The error for data that decodes to more than was announced. */
export function tooMuchOutput(compression: Compression, maxBytes: number): NixferryError {
  return damaged(compression, `it holds more than the ${maxBytes} bytes that it should`);
}
