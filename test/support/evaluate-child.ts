// One call of evaluateRoot inside a namespace, where real Nix has an own /nix: takes a request as JSON, prints what came of it as JSON.

import { pathToFileURL } from 'node:url';
import type { ErrorCode } from '../../src/base/errors.ts';
import { NixferryError } from '../../src/base/errors.ts';
import { derivationFiles } from '../../src/closure/derivation-files.ts';
import { type EvaluationRequest, evaluateRoot } from '../../src/evaluate/evaluation.ts';
import type { EvaluationInput } from '../../src/evaluate/found-inputs.ts';
import { DEFAULT_STORE_DIR, parseDerivation } from '../../src/nix/index.ts';

export interface ChildRequest extends EvaluationRequest {
  readonly workingDirectory: string;
  readonly temporaryFolder: string;
}

export interface ChildResult {
  readonly isNixos: boolean;
  readonly targets: readonly {
    readonly variant?: string;
    readonly drvPath: string;
    readonly outputs: readonly string[];
  }[];
  readonly inputs: readonly EvaluationInput[];
  readonly notices: readonly string[];
  /** What the evaluation store vouches for, of the inputs and targets. */
  readonly vouched: readonly string[];
  /** Derivations that could be read, below the targets. */
  readonly derivations: number;
}

export interface ChildError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | undefined;
}

async function evaluate(request: ChildRequest): Promise<ChildResult> {
  const notices: string[] = [];
  await using evaluation = await evaluateRoot(request, {
    storeDir: DEFAULT_STORE_DIR,
    workingDirectory: request.workingDirectory,
    temporaryFolder: request.temporaryFolder,
    onProgress: (event) => event.type === 'notice' && notices.push(event.message),
    signal: new AbortController().signal,
  });
  const { isNixos, targets, inputs, store } = evaluation;
  const readers = [evaluation.storeFolder, DEFAULT_STORE_DIR].map(derivationFiles);
  const seen = new Set(targets.map(({ drvPath }) => drvPath));
  for (const drvPath of seen) {
    const bytes = (await readers[0]?.(drvPath)) ?? (await readers[1]?.(drvPath));
    if (bytes === undefined) throw new Error(`${drvPath} cannot be read`);
    for (const input of parseDerivation(bytes).inputDerivations.keys()) seen.add(input);
  }
  const found = await store.query([...inputs.map(({ storePath }) => storePath), ...seen]);
  for (const path of found.keys())
    for await (const chunk of store.nar(path)) if (chunk.length === 0) throw new Error(path);
  return { isNixos, targets, inputs, notices, vouched: [...found.keys()], derivations: seen.size };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    const result = await evaluate(JSON.parse(process.argv[2] ?? '') as ChildRequest);
    console.log(JSON.stringify({ result }));
  } catch (error) {
    if (!(error instanceof NixferryError)) throw error;
    const { code, message, hint } = error;
    console.log(JSON.stringify({ error: { code, message, hint } }));
  }
}
