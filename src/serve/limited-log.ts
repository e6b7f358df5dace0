import type { Logger } from 'pino';
import { LIMITS } from '../base/limits.ts';

export type LogFields = Readonly<Record<string, unknown>>;

/** A log for what clients cause: they must not be able to fill the disk with it. */
export interface LimitedLog {
  info(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

/** Lets `linesPerSecond` lines through in each second, and says afterwards how many were left out. */
export function limitLog(
  logger: Logger,
  linesPerSecond: number = LIMITS.missLogLinesPerSecond,
  now: () => number = () => performance.now(),
): LimitedLog {
  let secondBegan = Number.NEGATIVE_INFINITY;
  let lines = 0;
  let leftOut = 0;
  const allow = (): boolean => {
    if (now() - secondBegan >= 1000) {
      if (leftOut > 0) logger.info({ leftOut }, 'log lines left out');
      secondBegan = now();
      lines = 0;
      leftOut = 0;
    }
    if (lines < linesPerSecond) return ++lines > 0;
    leftOut++;
    return false;
  };
  return {
    info: (fields, message) => {
      if (allow()) logger.info(fields, message);
    },
    error: (fields, message) => {
      if (allow()) logger.error(fields, message);
    },
  };
}
