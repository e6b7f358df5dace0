import { type Command, Option } from 'commander';
import type { Since } from '../shipment/choose-basis.ts';
import { isSequence } from '../shipment/format.ts';

// What a shipment builds on, as pack and export ask it.

export interface BasisOptions {
  readonly since?: string;
  readonly full?: boolean;
}

export function addBasisOptions(command: Command): Command {
  return command
    .option(
      '--since <what>',
      'send what is new since a receipt (a file) or since shipment number N, taken to have arrived with all before it (default: the last receipt that was acknowledged)',
    )
    .addOption(new Option('--full', 'send everything, whatever was acknowledged').conflicts('since'));
}

/** A number is a sequence; a receipt whose file is called so is written `./42`. */
export function readSince({ since, full }: BasisOptions): Since {
  if (full === true) return { type: 'nothing' };
  if (since === undefined) return { type: 'acknowledged' };
  const sequence = Number(since);
  return /^[0-9]+$/.test(since) && isSequence(sequence)
    ? { type: 'sequence', sequence }
    : { type: 'receipt', path: since };
}
