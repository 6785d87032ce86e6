/** What each of as many pairs of runs, one after the other and in turns first, gave; of the other way, all it gave. */
export interface Pairs {
  /** Of ours to the other way. What the machine does meanwhile touches both. */
  readonly ratios: readonly number[];
  readonly other: readonly number[];
}

export async function measurePairs(
  pairs: number,
  ours: () => Promise<number>,
  other: () => Promise<number>,
): Promise<Pairs> {
  const found = { ratios: [] as number[], other: [] as number[] };
  for (let pair = 0; pair < pairs; pair++) {
    const first = pair % 2 === 0 ? await ours() : undefined;
    const beside = await other();
    found.other.push(beside);
    found.ratios.push((first ?? (await ours())) / beside);
  }
  return found;
}
