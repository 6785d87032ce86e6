/** Pure: no clock, no I/O, no randomness. */

/** Reads protobuf's primitives from bytes that lie in several chunks. Throws RangeError where they make no sense. */
export class ChunkReader {
  readonly #chunks: readonly Uint8Array[];
  readonly #length: number;
  #chunk = 0;
  /** In the present chunk. */
  #at = 0;
  #offset = 0;

  constructor(chunks: readonly Uint8Array[]) {
    this.#chunks = chunks;
    this.#length = chunks.reduce((sum, { length }) => sum + length, 0);
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#offset;
  }

  get left(): number {
    return this.#length - this.#offset;
  }

  /** An unsigned number of at most 53 bits. */
  varint(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 56; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80 && value <= Number.MAX_SAFE_INTEGER) return value;
    }
    throw new RangeError("a number has more than 53 bits");
  }

  /** A copy of the next `length` bytes. */
  take(length: number): Uint8Array {
    this.#check(length);
    const out = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const piece = this.#present().subarray(this.#at, this.#at + length - done);
      out.set(piece, done);
      done += piece.length;
      this.#advance(piece.length);
    }
    return out;
  }

  skip(length: number): void {
    this.#check(length);
    for (let left = length; left > 0; ) {
      const step = Math.min(left, this.#present().length - this.#at);
      left -= step;
      this.#advance(step);
    }
  }

  /** Skips what follows the tag of a field. */
  skipBody(tag: number): void {
    const wireType = tag & 7;
    if (wireType === 0) this.#skipVarint();
    else if (wireType === 1) this.skip(8);
    else if (wireType === 2) this.skip(this.varint());
    else if (wireType === 5) this.skip(4);
    else throw new RangeError(`wire type ${wireType} is unknown`);
  }

  /** Runs `read`, and goes back to where it began. Returns how many bytes it read. */
  measure(read: () => void): number {
    const [chunk, at, offset] = [this.#chunk, this.#at, this.#offset];
    read();
    const length = this.#offset - offset;
    [this.#chunk, this.#at, this.#offset] = [chunk, at, offset];
    return length;
  }

  #check(length: number): void {
    if (length > this.left) throw new RangeError(`${length} bytes are announced, ${this.left} are left`);
  }

  #skipVarint(): void {
    for (let bytes = 0; bytes < 10; bytes++) if (this.#byte() < 0x80) return;
    throw new RangeError("a number has more than 10 bytes");
  }

  #advance(bytes: number): void {
    this.#at += bytes;
    this.#offset += bytes;
  }

  #byte(): number {
    if (this.left === 0) throw new RangeError("the bytes end within a field");
    const byte = this.#present()[this.#at]!;
    this.#advance(1);
    return byte;
  }

  /** The chunk that holds the next byte. */
  #present(): Uint8Array {
    while (this.#at >= this.#chunks[this.#chunk]!.length) {
      this.#chunk++;
      this.#at = 0;
    }
    return this.#chunks[this.#chunk]!;
  }
}
