import type { LocalStore } from '../evaluate/local-store.ts';
import type { Mirror } from '../mirror/mirror.ts';
import { composeNar } from '../mirror/nar-compose.ts';
import { intakeNar } from '../mirror/nar-intake.ts';
import type { PublishCandidate } from '../mirror/publish.ts';
import { requireTrust } from '../mirror/trust.ts';
import type { NarInfo, PublicKey } from '../nix/index.ts';
import type { PlannedPath } from './plan.ts';

export interface FetchInputs {
  readonly mirror: Mirror;
  readonly localStore: LocalStore | undefined;
  readonly trustedKeys: readonly PublicKey[];
  readonly signal: AbortSignal;
  readonly onBytes: (bytes: number) => void;
}
