/** Pure: no clock, no I/O, no randomness. */

/** A node as it matters to the spread of one service. */
export interface Load {
  /** What the node has for each spread preference of the service, the first preference first; as long for every node. */
  readonly values: readonly string[];
  /** Tasks of the service on it. */
  readonly tasks: number;
  /** One more may be placed there. */
  readonly takes: boolean;
  /** One of them may be moved away. */
  readonly gives: boolean;
}

/**
 * The move of one task that makes the spread more even; undefined when none does. From the top of the spread tree down, the first
 * siblings count that differ by two or more: what the fuller one gives makes both differ less, and nothing above them changes.
 * So with each move the sums of squares of the levels' counts, read from the top, become lower, and there is an end to moves.
 */
export function planMove<L extends Load>(loads: readonly L[]): { readonly from: L; readonly to: L } | undefined {
  return betweenSiblings(loads, 0);
}

/** Nodes of one value at some level; on the lowest level one node. */
interface Branch<L> {
  readonly loads: readonly L[];
  readonly tasks: number;
}

function betweenSiblings<L extends Load>(loads: readonly L[], level: number): ReturnType<typeof planMove<L>> {
  const branches = branchesAt(loads, level);
  const least = leastThatTakes(branches);
  const most = mostThatGives(branches);
  if (least !== undefined && most !== undefined && most.tasks - least.tasks >= 2) {
    return { from: descend(most, level, mostThatGives), to: descend(least, level, leastThatTakes) };
  }
  if (isLowest(loads, level)) return undefined;
  for (const branch of branches) {
    const within = betweenSiblings(branch.loads, level + 1);
    if (within !== undefined) return within;
  }
  return undefined;
}

function isLowest(loads: readonly Load[], level: number): boolean {
  return level >= (loads[0]?.values.length ?? 0);
}

function branchesAt<L extends Load>(loads: readonly L[], level: number): readonly Branch<L>[] {
  if (isLowest(loads, level)) return loads.map((load) => ({ loads: [load], tasks: load.tasks }));
  const byValue = Map.groupBy(loads, ({ values }) => values[level]);
  return [...byValue.values()].map((own) => ({ loads: own, tasks: own.reduce((sum, { tasks }) => sum + tasks, 0) }));
}

function leastThatTakes<L extends Load>(branches: readonly Branch<L>[]): Branch<L> | undefined {
  let least: Branch<L> | undefined;
  for (const branch of branches) {
    if ((least === undefined || branch.tasks < least.tasks) && branch.loads.some(({ takes }) => takes)) least = branch;
  }
  return least;
}

function mostThatGives<L extends Load>(branches: readonly Branch<L>[]): Branch<L> | undefined {
  let most: Branch<L> | undefined;
  for (const branch of branches) {
    if ((most === undefined || branch.tasks > most.tasks) && branch.loads.some(({ gives }) => gives)) most = branch;
  }
  return most;
}

/** The node that is chosen level by level below the branch, which has one that can be. */
function descend<L extends Load>(
  branch: Branch<L>,
  level: number,
  choose: (branches: readonly Branch<L>[]) => Branch<L> | undefined,
): L {
  if (isLowest(branch.loads, level)) return branch.loads[0]!;
  return descend(choose(branchesAt(branch.loads, level + 1))!, level + 1, choose);
}
