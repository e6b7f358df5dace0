// `npm run layers`: writes the picture of the rooms and their imports into docs/architecture.md.

import { drawPicture, readImports, writePicture } from '../test/support/layers.ts';

await writePicture(drawPicture(await readImports()));
