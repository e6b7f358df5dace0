// What a worker process starts with.
import { runWorker } from './worker.ts';

await runWorker();
