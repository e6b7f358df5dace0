import { rmSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { LIMITS } from '../base/limits.ts';
import { formatNarInfo, parseNarInfo } from '../nix/narinfo.ts';
import type { HashPart } from '../nix/store-path.ts';
import type { Offer } from './offer.ts';

export interface RememberedOffer extends Offer {
  /** When the upstream said so, in milliseconds since 1970. */
  readonly seenMs: number;
}

/**
 * The offers made to clients, which may come back for the NARs for as long as they remember the narinfos: also after a restart. A cache and
 * nothing more: bounded, written without haste, begun anew when it cannot be read.
 */
export class OfferTable {
  readonly #storeDir: string;
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #byHashPart: StatementSync;
  readonly #byName: StatementSync;
  readonly #forget: StatementSync;
  readonly #shrink: StatementSync;
  readonly #pending = new Map<HashPart, RememberedOffer>();
  readonly #pendingNames = new Map<string, HashPart>();
  #timer: NodeJS.Timeout | undefined;
  /** How many may be pending before they are written at once. */
  #mayWaitUntil = FLUSH_ROWS;

  constructor(file: string, storeDir: string) {
    this.#storeDir = storeDir;
    this.#database = openDatabase(file);
    this.#insert = this.#database.prepare('INSERT OR REPLACE INTO offers VALUES (?, ?, ?, ?, ?, ?)');
    this.#byHashPart = this.#database.prepare('SELECT * FROM offers WHERE hash_part = ?');
    this.#byName = this.#database.prepare('SELECT * FROM offers WHERE nar_name = ? ORDER BY seen_ms DESC LIMIT 1');
    this.#forget = this.#database.prepare('DELETE FROM offers WHERE hash_part = ?');
    this.#shrink = this.#database.prepare(
      'DELETE FROM offers WHERE hash_part IN (SELECT hash_part FROM offers ORDER BY seen_ms DESC LIMIT -1 OFFSET ?)',
    );
  }

  get(hashPart: HashPart): RememberedOffer | undefined {
    return this.#pending.get(hashPart) ?? this.#read(this.#byHashPart.get(hashPart));
  }

  /** The offer that made clients ask for this NAR. */
  byNarName(name: string): RememberedOffer | undefined {
    const pending = this.#pendingNames.get(name);
    return (pending === undefined ? undefined : this.#pending.get(pending)) ?? this.#read(this.#byName.get(name));
  }

  put(offer: RememberedOffer): void {
    this.#pending.set(offer.hashPart, offer);
    this.#pendingNames.set(offer.narName, offer.hashPart);
    if (this.#pending.size >= this.#mayWaitUntil) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  forget(hashPart: HashPart): void {
    this.#dropPending(hashPart);
    try {
      this.#forget.run(hashPart);
    } catch {
      // On a full disk nothing can be removed either; what is wrong is found out again.
    }
  }

  /** Writes down what was put. What cannot be written (a full disk) stays in memory, as far as that is bounded, and is tried again. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pending.size === 0) return;
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      for (const { hashPart, narName, upstream, info, text, seenMs } of this.#pending.values()) {
        this.#insert.run(hashPart, narName, upstream, formatNarInfo(info), text, seenMs);
      }
      this.#shrink.run(LIMITS.proxyOffersKept);
      this.#database.exec('COMMIT');
    } catch {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      for (const hashPart of this.#pending.keys()) {
        if (this.#pending.size <= LIMITS.proxyOffersUnwritten) break;
        this.#dropPending(hashPart);
      }
      this.#timer = setTimeout(() => this.flush(), LIMITS.proxyOffersRetryMs).unref();
      this.#mayWaitUntil = this.#pending.size + FLUSH_ROWS;
      return;
    }
    this.#pending.clear();
    this.#pendingNames.clear();
    this.#mayWaitUntil = FLUSH_ROWS;
  }

  close(): void {
    this.flush();
    clearTimeout(this.#timer);
    this.#database.close();
  }

  #dropPending(hashPart: HashPart): void {
    const offer = this.#pending.get(hashPart);
    if (offer === undefined) return;
    this.#pending.delete(hashPart);
    if (this.#pendingNames.get(offer.narName) === hashPart) this.#pendingNames.delete(offer.narName);
  }

  #read(row: Record<string, unknown> | undefined): RememberedOffer | undefined {
    if (row === undefined) return undefined;
    return {
      hashPart: row['hash_part'] as HashPart,
      narName: String(row['nar_name']),
      upstream: String(row['upstream']),
      info: parseNarInfo(String(row['info']), this.#storeDir),
      text: String(row['text']),
      seenMs: Number(row['seen_ms']),
    };
  }
}

const FLUSH_ROWS = 500;
const FLUSH_MS = 100;

function openDatabase(file: string): DatabaseSync {
  try {
    return openTable(file);
  } catch {
    for (const suffix of ['', '-journal']) rmSync(`${file}${suffix}`, { force: true });
  }
  try {
    return openTable(file);
  } catch {
    // A full disk: what is offered is remembered as long as this process lives.
    return openTable(':memory:');
  }
}

function openTable(file: string): DatabaseSync {
  const database = new DatabaseSync(file, { timeout: 2000 });
  try {
    // Losing it in a power cut costs clients a question more.
    database.exec('PRAGMA synchronous = OFF');
    database.exec(
      'CREATE TABLE IF NOT EXISTS offers (hash_part TEXT PRIMARY KEY, nar_name TEXT NOT NULL, upstream TEXT NOT NULL, info TEXT NOT NULL, text TEXT NOT NULL, seen_ms INTEGER NOT NULL) WITHOUT ROWID',
    );
    database.exec('CREATE INDEX IF NOT EXISTS offers_by_name ON offers (nar_name)');
    database.exec('CREATE INDEX IF NOT EXISTS offers_by_age ON offers (seen_ms)');
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}
