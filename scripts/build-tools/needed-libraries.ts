import { open } from 'node:fs/promises';

/**
 * The names of the libraries that a 64-bit little-endian ELF file asks its loader for (DT_NEEDED), in their order. Read from the file, because
 * a program for another kind of machine cannot be asked. Source: System V ABI, chapters 4 and 5.
 */
export async function neededLibraries(file: string): Promise<string[]> {
  await using handle = await open(file);
  const read = async (offset: number, sizeBytes: number): Promise<Buffer> => {
    const bytes = Buffer.alloc(sizeBytes);
    await handle.read(bytes, 0, sizeBytes, offset);
    return bytes;
  };
  const header = await read(0, 64);
  if (header.readUInt32BE(0) !== ELF_MAGIC || header[4] !== CLASS_64) throw new Error(`${file} is no 64-bit ELF file`);
  const headerBytes = header.readUInt16LE(54);
  const programHeaders: ProgramHeader[] = [];
  for (let index = 0; index < header.readUInt16LE(56); index += 1) {
    const bytes = await read(Number(header.readBigUInt64LE(32)) + index * headerBytes, headerBytes);
    const [offset = 0, address = 0, sizeBytes = 0] = [8, 16, 32].map((at) => Number(bytes.readBigUInt64LE(at)));
    programHeaders.push({ type: bytes.readUInt32LE(0), offset, address, sizeBytes });
  }
  const dynamic = programHeaders.find(({ type }) => type === PT_DYNAMIC);
  if (dynamic === undefined) return [];
  const table = await read(dynamic.offset, dynamic.sizeBytes);
  const needed: number[] = [];
  let names = 0;
  for (let at = 0; at + 16 <= table.length; at += 16) {
    const [tag, value] = [table.readBigInt64LE(at), Number(table.readBigUInt64LE(at + 8))];
    if (tag === DT_NULL) break;
    if (tag === DT_NEEDED) needed.push(value);
    if (tag === DT_STRTAB) names = offsetOf(programHeaders, value);
  }
  return Promise.all(
    needed.map(async (offset) => {
      const bytes = await read(names + offset, NAME_BYTES);
      return bytes.toString('latin1', 0, bytes.indexOf(0));
    }),
  );
}

interface ProgramHeader {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly sizeBytes: number;
}

const ELF_MAGIC = 0x7f454c46;
const CLASS_64 = 2;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT_NULL = 0n;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;
const NAME_BYTES = 256;

/** Where an address of the running program is in the file. */
function offsetOf(headers: readonly ProgramHeader[], address: number): number {
  const segment = headers.find((header) => {
    return header.type === PT_LOAD && header.address <= address && address < header.address + header.sizeBytes;
  });
  if (segment === undefined) throw new Error('the dynamic section points outside of the file');
  return address - segment.address + segment.offset;
}
