import type { ClusterSettings } from 'node:cluster';
import { childProgram } from '../base/child-program.ts';

/** What `node:cluster` starts as a worker. */
export function workerProgram(): ClusterSettings {
  return { ...childProgram(() => new URL('./worker-main', import.meta.url)), args: [] };
}
