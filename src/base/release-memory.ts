/**
 * Gives the memory of bytes that nobody will look at again back at once. Left to the garbage collector, hundreds of megabytes that
 * stream through make it run dozens of times over a heap in which there is nothing to find: a tenth of all CPU time when collecting.
 * Bytes that share their memory with others are left alone. What is released must not be used again: it is empty then.
 */
export function releaseMemory(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (bytes.byteOffset !== 0 || bytes.byteLength !== buffer.byteLength || !(buffer instanceof ArrayBuffer)) return;
  if (!buffer.detached) buffer.transfer(0);
}
