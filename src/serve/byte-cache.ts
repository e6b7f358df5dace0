/**
 * A map bounded by the bytes that its values hold; what was not used for long leaves first. Two generations instead of a list in order
 * of use: a value that is asked for all the time costs one look and moves nothing.
 */
export class ByteCache<Value> {
  readonly #generationBytes: number;
  #young = new Map<string, Entry<Value>>();
  #old = new Map<string, Entry<Value>>();
  #youngBytes = 0;

  constructor(maxBytes: number) {
    this.#generationBytes = maxBytes / 2;
  }

  get(key: string): Value | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young.value;
    const old = this.#old.get(key);
    if (old === undefined) return undefined;
    this.#old.delete(key);
    this.#add(key, old);
    return old.value;
  }

  /** A value larger than half of the cache is not kept. */
  set(key: string, value: Value, sizeBytes: number): void {
    this.delete(key);
    if (sizeBytes <= this.#generationBytes) this.#add(key, { value, sizeBytes });
  }

  delete(key: string): void {
    this.#old.delete(key);
    const entry = this.#young.get(key);
    if (entry === undefined) return;
    this.#young.delete(key);
    this.#youngBytes -= entry.sizeBytes;
  }

  #add(key: string, entry: Entry<Value>): void {
    if (this.#youngBytes + entry.sizeBytes > this.#generationBytes) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngBytes = 0;
    }
    this.#young.set(key, entry);
    this.#youngBytes += entry.sizeBytes;
  }
}

interface Entry<Value> {
  readonly value: Value;
  readonly sizeBytes: number;
}
