/** Pure: no clock, no I/O, no randomness. */

/** A node holds at most this many keys: a write copies one node per level, a lookup searches in one per level. */
const KEYS_MAX = 32;
/** One that has fewer joins its neighbour when both fit in one. */
const KEYS_MIN = KEYS_MAX / 4;

/** Names who may change a node in place. */
export type Owner = object;

interface Node<V> {
  readonly owner: Owner;
  /** Who may change `hints` and `keys` in place: an owner who only put other values or children here shares them. */
  keysOwner: Owner;
  /** `hintOf` each key: most comparisons need not look at the strings, which lie elsewhere in memory. */
  hints: number[];
  /**
   * In order. Leaf: the keys. Inner node: keys[i] is above all keys below children[i - 1] and not above any below
   * children[i]; keys[0] is not looked at.
   */
  keys: string[];
  /** Leaf: values[i] belongs to keys[i]. */
  readonly values: V[];
  /** Inner node: never empty. Undefined in a leaf. */
  readonly children: Node<V>[] | undefined;
}

/**
 * Strings to values other than undefined, ordered by UTF-16 code units as `<` does: a copy-on-write B+ tree. `edit` gives a map that shares
 * everything with this one until it is written to, and this one stays as it is.
 *
 * Invariant: a map is written to only by its owner, and never again once another was made of it by `edit`.
 */
export class OrderedMap<V> {
  readonly owner: Owner;
  #root: Node<V>;
  #size: number;
  /** Place of the key that was put into a node last; `#split` follows at once. */
  #filled = 0;

  private constructor(owner: Owner, root: Node<V>, size: number) {
    this.owner = owner;
    this.#root = root;
    this.#size = size;
  }

  static empty<V>(owner: Owner): OrderedMap<V> {
    return new OrderedMap<V>(owner, leaf(owner, [], [], []), 0);
  }

  /** This map if it is `owner`'s, else a copy that is. Costs nothing that grows. */
  edit(owner: Owner): OrderedMap<V> {
    return this.owner === owner ? this : new OrderedMap(owner, this.#root, this.#size);
  }

  get size(): number {
    return this.#size;
  }

  get(key: string): V | undefined {
    const hint = hintOf(key);
    let node = this.#root;
    while (node.children !== undefined) node = node.children[childAt(node, hint, key)]!;
    const at = lowerBound(node, hint, key);
    return node.keys[at] === key ? node.values[at] : undefined;
  }

  set(key: string, value: V): void {
    const left = this.#put(this.#root, hintOf(key), key, value);
    this.#root = left;
    if (left.keys.length <= KEYS_MAX) return;
    const right = this.#split(left);
    this.#root = inner(this.owner, [left.hints[0]!, right.hints[0]!], [left.keys[0]!, right.keys[0]!], [left, right]);
  }

  /** Without the key nothing is changed. */
  delete(key: string): void {
    if (this.get(key) === undefined) return;
    this.#root = this.#without(this.#root, hintOf(key), key);
    this.#size--;
    while (this.#root.children?.length === 1) this.#root = this.#root.children[0]!;
  }

  /** Every value, in order of keys. */
  values(): V[] {
    const values: V[] = [];
    collect(this.#root, values);
    return values;
  }

  /** Every value, in order of keys, some at a time. Nothing may be written to the map during the iteration. */
  parts(): Generator<readonly V[]> {
    return leavesOf(this.#root);
  }

  /** As `parts`, of the keys that start with `prefix`. */
  partsOfPrefix(prefix: string): Generator<readonly V[], unknown> {
    return prefixedLeaves(this.#root, hintOf(prefix), prefix);
  }

  /** Gives `visit` the values of all keys that start with `prefix`, in order of keys. */
  forPrefix(prefix: string, visit: (value: V, key: string) => void): void {
    visitPrefixed(this.#root, hintOf(prefix), prefix, visit);
  }

  /** `node` if its values or children may be changed in place, else a copy of which they may. */
  #own(node: Node<V>): Node<V> {
    const { owner } = this;
    if (node.owner === owner) return node;
    const { keysOwner, hints, keys, values, children } = node;
    if (children === undefined) return { owner, keysOwner, hints, keys, values: values.slice(), children };
    return { owner, keysOwner, hints, keys, values, children: children.slice() };
  }

  /** Puts the pair below `node`. Gives the owned node that stands in its place, which may hold a key too many. */
  #put(node: Node<V>, hint: number, key: string, value: V): Node<V> {
    if (node.children === undefined) return this.#putInLeaf(node, hint, key, value);
    const at = childAt(node, hint, key);
    const own = this.#own(node);
    const children = own.children!;
    const left = this.#put(children[at]!, hint, key, value);
    children[at] = left;
    if (left.keys.length <= KEYS_MAX) return own;
    const right = this.#split(left);
    this.#insertKey(own, at + 1, right.hints[0]!, right.keys[0]!);
    insertAt(children, at + 1, right);
    return own;
  }

  #putInLeaf(node: Node<V>, hint: number, key: string, value: V): Node<V> {
    const at = lowerBound(node, hint, key);
    if (node.keys[at] === key) {
      const own = this.#own(node);
      own.values[at] = value;
      return own;
    }
    this.#size++;
    if (node.owner !== this.owner) {
      this.#filled = at;
      return leaf(
        this.owner,
        withHint(node.hints, at, hint),
        node.keys.toSpliced(at, 0, key),
        node.values.toSpliced(at, 0, value),
      );
    }
    this.#insertKey(node, at, hint, key);
    insertAt(node.values, at, value);
    return node;
  }

  #insertKey(node: Node<V>, at: number, hint: number, key: string): void {
    this.#filled = at;
    if (node.keysOwner === this.owner) {
      insertHint(node.hints, at, hint);
      insertAt(node.keys, at, key);
    } else {
      node.hints = withHint(node.hints, at, hint);
      node.keys = node.keys.toSpliced(at, 0, key);
      node.keysOwner = this.owner;
    }
  }

  /**
   * The new right neighbour of a node that holds a key too many: a half of it; or, when its last place was filled just now,
   * what stands there: keys often come in order.
   */
  #split({ hints, keys, values, children }: Node<V>): Node<V> {
    const from = this.#filled === KEYS_MAX ? KEYS_MAX : KEYS_MAX >> 1;
    const [rightHints, rightKeys] = [hints.splice(from), keys.splice(from)];
    if (children !== undefined) return inner(this.owner, rightHints, rightKeys, children.splice(from));
    return leaf(this.owner, rightHints, rightKeys, values.splice(from));
  }

  /** Takes a key that is there out from below `node`. Gives the owned node that stands in its place. */
  #without(node: Node<V>, hint: number, key: string): Node<V> {
    const own = this.#own(node);
    const { children } = own;
    if (children === undefined) {
      const at = lowerBound(own, hint, key);
      this.#removeKey(own, at);
      removeAt(own.values, at);
      return own;
    }
    const at = childAt(own, hint, key);
    const child = this.#without(children[at]!, hint, key);
    children[at] = child;
    if (child.keys.length < KEYS_MIN) this.#maybeJoin(own, children, Math.max(0, at - 1));
    return own;
  }

  #removeKey(node: Node<V>, at: number): void {
    this.#ownKeys(node);
    removeHint(node.hints, at);
    removeAt(node.keys, at);
  }

  #ownKeys(node: Node<V>): void {
    if (node.keysOwner === this.owner) return;
    node.hints = node.hints.slice();
    node.keys = node.keys.slice();
    node.keysOwner = this.owner;
  }

  /** Joins the children at `at` and behind it when both fit in one; always when one of them is empty. */
  #maybeJoin(node: Node<V>, children: Node<V>[], at: number): void {
    const right = children[at + 1];
    if (right === undefined || children[at]!.keys.length + right.keys.length > KEYS_MAX) return;
    const left = this.#own(children[at]!);
    this.#ownKeys(left);
    children[at] = left;
    if (left.children === undefined) {
      left.hints.push(...right.hints);
      left.keys.push(...right.keys);
      left.values.push(...right.values);
    } else {
      left.hints.push(node.hints[at + 1]!, ...right.hints.slice(1));
      left.keys.push(node.keys[at + 1]!, ...right.keys.slice(1));
      left.children.push(...right.children!);
    }
    this.#removeKey(node, at + 1);
    removeAt(children, at + 1);
  }
}

function leaf<V>(owner: Owner, hints: number[], keys: string[], values: V[]): Node<V> {
  return { owner, keysOwner: owner, hints, keys, values, children: undefined };
}

const noValues: never[] = [];

function inner<V>(owner: Owner, hints: number[], keys: string[], children: Node<V>[]): Node<V> {
  return { owner, keysOwner: owner, hints, keys, values: noValues, children };
}

/** Characters that a hint holds, a byte each: as many as a number holds exactly. */
const HINT_CHARACTERS = 6;
const HINT_BYTE_MAX = 255;

/**
 * A number that orders strings by their first characters: `hintOf(a) < hintOf(b)` only if `a < b`. A character that needs
 * more than a byte ends it, so that what follows counts for nothing.
 */
function hintOf(key: string): number {
  let hint = 0;
  let ended = false;
  for (let at = 0; at < HINT_CHARACTERS; at++) {
    const code: number = ended || at >= key.length ? 0 : key.charCodeAt(at);
    ended ||= code >= HINT_BYTE_MAX;
    hint = hint * 256 + Math.min(code, HINT_BYTE_MAX);
  }
  return hint;
}

/** Where `key` is in a leaf, or would be put. */
function lowerBound({ hints, keys }: Node<unknown>, hint: number, key: string): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const known = hints[middle]!;
    if (known < hint || (known === hint && keys[middle]! < key)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The child of an inner node that `key` belongs to. */
function childAt({ hints, keys }: Node<unknown>, hint: number, key: string): number {
  let [low, high] = [1, keys.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const known = hints[middle]!;
    if (known < hint || (known === hint && keys[middle]! <= key)) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** As splice, which costs several times as much for so short an array. */
function insertAt<T>(array: T[], at: number, value: T): void {
  for (let i = array.length; i > at; i--) array[i] = array[i - 1]!;
  array[at] = value;
}

/** As `insertAt`, which V8 makes arrays of any kind with: numbers alone it keeps without an object for each. */
function insertHint(hints: number[], at: number, hint: number): void {
  for (let i = hints.length; i > at; i--) hints[i] = hints[i - 1]!;
  hints[at] = hint;
}

/** A copy with the hint at `at`, and no room to spare. */
function withHint(hints: readonly number[], at: number, hint: number): number[] {
  const copy = new Array<number>(hints.length + 1);
  for (let i = 0; i < at; i++) copy[i] = hints[i]!;
  copy[at] = hint;
  for (let i = at; i < hints.length; i++) copy[i + 1] = hints[i]!;
  return copy;
}

function removeHint(hints: number[], at: number): void {
  for (let i = at + 1; i < hints.length; i++) hints[i - 1] = hints[i]!;
  hints.pop();
}

/** As splice, which makes a list of what it has removed. */
function removeAt(array: unknown[], at: number): void {
  for (let i = at + 1; i < array.length; i++) array[i - 1] = array[i];
  array.pop();
}

function collect<V>(node: Node<V>, values: V[]): void {
  if (node.children === undefined) for (const value of node.values) values.push(value);
  else for (const child of node.children) collect(child, values);
}

function* leavesOf<V>(node: Node<V>): Generator<readonly V[]> {
  if (node.children === undefined) yield node.values;
  else for (const child of node.children) yield* leavesOf(child);
}

/** Returns false when a key behind the prefix was met. */
function visitPrefixed<V>(
  node: Node<V>,
  hint: number,
  prefix: string,
  visit: (value: V, key: string) => void,
): boolean {
  const { keys, values, children } = node;
  if (children === undefined) {
    for (let at = lowerBound(node, hint, prefix); at < keys.length; at++) {
      const key = keys[at]!;
      if (!key.startsWith(prefix)) return false;
      visit(values[at]!, key);
    }
    return true;
  }
  for (let at = childAt(node, hint, prefix); at < children.length; at++) {
    if (!visitPrefixed(children[at]!, hint, prefix, visit)) return false;
  }
  return true;
}

/** Returns false when a key behind the prefix was met. */
function* prefixedLeaves<V>(node: Node<V>, hint: number, prefix: string): Generator<readonly V[], boolean> {
  const { keys, values, children } = node;
  if (children === undefined) {
    const from = lowerBound(node, hint, prefix);
    let to = from;
    while (to < keys.length && keys[to]!.startsWith(prefix)) to++;
    yield values.slice(from, to);
    return to === keys.length;
  }
  for (let at = childAt(node, hint, prefix); at < children.length; at++) {
    if (!(yield* prefixedLeaves(children[at]!, hint, prefix))) return false;
  }
  return true;
}
