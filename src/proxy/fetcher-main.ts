// What the fetcher's process starts with.
import { runFetcher } from './run-fetcher.ts';

await runFetcher();
