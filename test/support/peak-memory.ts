// Preloaded (`node --import`) into a command whose peak memory is measured: writes it, in KiB, where NIXFERRY_PEAK_FILE says.
import { writeFileSync } from 'node:fs';
import { ownPeakKiB } from './own-peak.ts';

const file = process.env['NIXFERRY_PEAK_FILE'];
process.on('exit', () => {
  if (file !== undefined) writeFileSync(file, String(ownPeakKiB()));
});
