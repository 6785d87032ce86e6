/** Pure: no clock, no I/O, no randomness. */
import type { Annotations } from "@starling/api";
import type { IndexName } from "../query.ts";

/** How a table files an object under one index: no key, one, or several. */
export interface Index<T> {
  readonly name: IndexName;
  /** Two objects may not share a key: refused with AlreadyExists. */
  readonly unique?: boolean;
  /** No tree is kept: finders go through all objects. For what is seldom asked of a table that often changes. */
  readonly scanned?: boolean;
  keysOf(object: T): string | readonly string[] | undefined;
  /** The keys of both are the same for certain, so they need not be made. */
  readonly same?: (before: T, after: T) => boolean;
}

/** What a kind's table is: its indexes besides the id, and what its objects are called in messages. */
export interface TableSchema<T> {
  readonly nameOf: (object: T) => string;
  readonly indexes: readonly Index<T>[];
}

const none: readonly string[] = [];

/** Name (unique) and custom index entries, which every kind with annotations has. */
export function annotationIndexes<T>(annotationsOf: (object: T) => Annotations): readonly Index<T>[] {
  return [
    { name: "name", unique: true, keysOf: (object) => annotationsOf(object).name.toLowerCase() },
    customIndex(annotationsOf),
  ];
}

export function customIndex<T>(annotationsOf: (object: T) => Annotations): Index<T> {
  return {
    name: "custom",
    keysOf: (object) => customKeys(annotationsOf(object)),
    same: (before, after) => annotationsOf(before) === annotationsOf(after),
  };
}

function customKeys({ indices }: Annotations): readonly string[] {
  return indices.length === 0 ? none : unique(indices.map(({ key, val }) => `${key}|${val}`));
}

/** The ids that a list of references names, each once. */
export function referenced<R>(references: readonly R[] | undefined, idOf: (reference: R) => string): readonly string[] {
  return references === undefined || references.length === 0 ? none : unique(references.map(idOf));
}

function unique(keys: readonly string[]): readonly string[] {
  return keys.length < 2 ? keys : [...new Set(keys)];
}
