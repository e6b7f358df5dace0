import { NixferryError } from '../base/errors.ts';
import { explainReadError } from './medium-error.ts';
import { readBack } from './read-back.ts';
import type { FoundVolume } from './read-shipment.ts';

/**
 * Tells by the sha256 of the manifest which volumes are as the sender signed them. Importing does without: every member is checked by itself. Only where
 * damage was met, and only a whole volume can tell where it lies, is a volume read for this, each file once.
 */
export class VolumeCheck {
  readonly #signal: AbortSignal | undefined;
  /** By path. */
  readonly #verdicts = new Map<string, Promise<boolean>>();

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
  }

  /** The file that is the volume as it was signed; undefined when none is. */
  async goodCopy({ files, sha256, sizeBytes }: FoundVolume): Promise<FoundVolume['files'][number] | undefined> {
    for (const file of files) {
      if (file.sizeBytes === sizeBytes && (await this.#hasSha256(file.path, sha256))) return file;
    }
    return undefined;
  }

  #hasSha256(path: string, sha256: string): Promise<boolean> {
    const known = this.#verdicts.get(path) ?? this.#read(path, sha256);
    this.#verdicts.set(path, known);
    return known;
  }

  async #read(path: string, sha256: string): Promise<boolean> {
    try {
      return (await readBack(path, this.#signal)).sha256 === sha256;
    } catch (error) {
      const explained = explainReadError(error, path);
      if (explained instanceof NixferryError) return false;
      throw explained;
    }
  }
}
