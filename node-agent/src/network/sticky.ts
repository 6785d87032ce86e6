/** Pure: no clock, no I/O, no randomness. */

/**
 * Parts into which clients' addresses fall in the mesh, each with a task of its own. Many, so that every task gets about as
 * many clients as another; the same on all nodes.
 */
export const stickyParts = 256;

/** Which of `tasks` a client goes to: the one of highest score (rendezvous hashing), so that one that comes or goes moves no others' clients. */
export function stickyTask<T extends string>(client: string, tasks: readonly T[]): T | undefined {
  return highest(
    hash(client),
    tasks.map((task) => ({ task, seed: hash(task) })),
  );
}

/** The task of each part, by the part's number; empty without tasks. */
export function stickyParting<T extends string>(tasks: readonly T[]): readonly T[] {
  if (tasks.length === 0) return [];
  const candidates = tasks.map((task) => ({ task, seed: hash(task) }));
  return Array.from({ length: stickyParts }, (_, part) => highest(mix(part + 1), candidates)!);
}

function highest<T extends string>(
  client: number,
  candidates: readonly { readonly task: T; readonly seed: number }[],
): T | undefined {
  let best: T | undefined;
  let score = -1;
  for (const { task, seed } of candidates) {
    const own = mix(client ^ seed);
    if (own < score || (own === score && task > best!)) continue;
    best = task;
    score = own;
  }
  return best;
}

/** FNV-1a, mixed. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return mix(value);
}

/** Each bit of the result depends on each of `value` (the end of MurmurHash3). */
function mix(value: number): number {
  let mixed = value ^ (value >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
