/** Pure: no clock, no I/O, no randomness. */

/** What an empty array, which raft carries in place of a large snapshot's bytes, stands for. */
const partsByData = new WeakMap<Uint8Array, readonly Uint8Array[]>();

/** `parts` as a snapshot's `data` for raft, which never looks into it: joining them would pause the process. */
export function dataOfParts(parts: readonly Uint8Array[]): Uint8Array {
  const data = new Uint8Array(0);
  partsByData.set(data, parts);
  return data;
}

/** The bytes of a snapshot that came through raft. */
export function partsOfData(data: Uint8Array): readonly Uint8Array[] {
  return partsByData.get(data) ?? [data];
}

/** The same bytes in parts of `size`, the last one smaller; one empty part when there are none. */
export function* recut(chunks: readonly Uint8Array[], size: number): Generator<Uint8Array> {
  let gathered: Uint8Array[] = [];
  let bytes = 0;
  for (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const piece = chunk.subarray(at, at + size - bytes);
      gathered.push(piece);
      bytes += piece.length;
      at += piece.length;
      if (bytes < size) continue;
      yield gathered.length === 1 ? piece : Buffer.concat(gathered, bytes);
      gathered = [];
      bytes = 0;
    }
  }
  const total = chunks.reduce((sum, { length }) => sum + length, 0);
  if (bytes > 0 || total === 0) yield Buffer.concat(gathered, bytes);
}
