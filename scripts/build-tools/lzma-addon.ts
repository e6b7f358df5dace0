// Stands for @napi-rs/lzma in the program for the medium: the addon lies in the folder that the program was started from, which is
// known to be one that code can be loaded from.

import { createRequire } from 'node:module';
import path from 'node:path';
import { carriedToolsFolder } from '../../src/base/carried-tools.ts';

const file = path.join(carriedToolsFolder() ?? '', 'lzma.node');
const addon: unknown = createRequire(file)(file);

// Its importer wants it as the package gives it.
// oxlint-disable-next-line import/no-default-export
export { addon as default };
