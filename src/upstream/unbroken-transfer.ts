import type { Clock } from '../base/clock.ts';
import { type RetryPolicy, retryDelayMs } from '../base/http/retry-policy.ts';
import { HttpError, isBrokenTransfer } from '../base/http-client.ts';
import { LIMITS } from '../base/limits.ts';

/** A file on its way, from `offset` on. */
export interface Transfer {
  readonly stream: AsyncIterable<Uint8Array>;
  readonly offset: number;
  /** What tells one version of the file from another, as far as the source says: two that both say must agree. */
  readonly etag?: string | undefined;
  readonly totalBytes?: number | undefined;
}

export interface UnbrokenOptions {
  readonly offset?: number | undefined;
  /** Of the whole file, where the caller knows better than the source: ending earlier counts as broken. */
  readonly expectedBytes?: number | undefined;
  readonly retries: RetryPolicy;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** For messages. */
  readonly url: string;
}

/**
 * Opens a transfer whose stream goes on by itself where it broke, with the policy's attempts and waits; attempts are given
 * back as bytes come. A source that cannot begin in the middle is read again from its start, and what has been passed on
 * already is dropped. Throws as `open` does, HttpError `changed` when the source has other bytes now than at first, and
 * the last break when the attempts are used up.
 */
export async function openUnbroken(
  open: (offset: number) => Promise<Transfer>,
  options: UnbrokenOptions,
): Promise<Transfer> {
  const first = await open(options.offset ?? 0);
  return { ...first, stream: continueTransfer(first, open, options) };
}

async function* continueTransfer(
  first: Transfer,
  open: (offset: number) => Promise<Transfer>,
  { retries, clock, signal, url, expectedBytes }: UnbrokenOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const wholeBytes = expectedBytes ?? first.totalBytes;
  let transfer = first;
  let position = first.offset;
  let attempt = 1;
  let progressBytes = 0;
  for (;;) {
    try {
      for await (const chunk of skip(transfer.stream, position - transfer.offset)) {
        position += chunk.length;
        progressBytes += chunk.length;
        if (progressBytes >= LIMITS.resumeProgressBytes) attempt = 1;
        yield chunk;
      }
      if (wholeBytes === undefined || position >= wholeBytes) return;
      throw new HttpError('broken', url, `the transfer ended after ${position} of ${wholeBytes} bytes`);
    } catch (error) {
      if (!isBrokenTransfer(error) || attempt >= retries.attempts) throw error;
    }
    await clock.sleep(retryDelayMs(retries, attempt), signal);
    attempt += 1;
    progressBytes = 0;
    transfer = await open(position);
    assertSameFile(first, transfer, position, url);
  }
}

function assertSameFile(first: Transfer, now: Transfer, position: number, url: string): void {
  if (differ(first.etag, now.etag) || differ(first.totalBytes, now.totalBytes) || now.offset > position) {
    void now.stream[Symbol.asyncIterator]().return?.();
    throw new HttpError('changed', url, 'the file has changed while it was being transferred', {
      hint: 'type the same command again',
    });
  }
}

function differ(left: unknown, right: unknown): boolean {
  return left !== undefined && right !== undefined && left !== right;
}

async function* skip(
  stream: AsyncIterable<Uint8Array>,
  skippedBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let left = skippedBytes;
  for await (const chunk of stream) {
    if (left >= chunk.length) left -= chunk.length;
    else {
      yield left === 0 ? chunk : chunk.subarray(left);
      left = 0;
    }
  }
}
