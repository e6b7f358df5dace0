// Preloaded (`node --import`) into a command whose peak memory is measured: writes it, in kB, where NIXFERRY_PEAK_FILE says.
import { writeFileSync } from 'node:fs';

const file = process.env['NIXFERRY_PEAK_FILE'];
process.on('exit', () => {
  if (file !== undefined) writeFileSync(file, String(process.resourceUsage().maxRSS));
});
