/** Pure: no clock, no I/O, no randomness. */

import type { ListView } from "../format/list.ts";
import { formatAge, formatTimestamp } from "../format/time.ts";
import type { ClusterImage } from "./gather.ts";

/** A line of `image ls`: one of an image's names. */
export interface ImageRow extends ClusterImage {
  readonly repository: string;
  readonly tag: string;
  /** `sha256:…` of the reference, empty when it has none. */
  readonly digest: string;
}

const none = "<none>";

/** A line for each name of each image, newest first; one without a name has one line. */
export function rowsOf(images: readonly ClusterImage[]): readonly ImageRow[] {
  const rows = images.flatMap((image) => {
    const names = new Map<string, ImageRow>();
    for (const reference of image.references) {
      const row = { ...image, ...splitReference(reference) };
      const key = `${row.repository} ${row.tag}`;
      // A name with its digest and the same without are one line.
      names.set(key, { ...row, digest: row.digest || (names.get(key)?.digest ?? "") });
    }
    return names.size > 0 ? [...names.values()] : [{ ...image, repository: none, tag: none, digest: "" }];
  });
  const created = (row: ImageRow) => row.image.created?.seconds ?? 0;
  return rows.toSorted(
    (a, b) => created(b) - created(a) || a.repository.localeCompare(b.repository) || a.tag.localeCompare(b.tag),
  );
}

/** Repository, tag and digest as the reference has them. */
export function splitReference(reference: string): Pick<ImageRow, "repository" | "tag" | "digest"> {
  const [name = "", digest = ""] = reference.split("@");
  const colon = name.lastIndexOf(":");
  if (colon <= name.lastIndexOf("/")) return { repository: name, tag: digest === "" ? "latest" : none, digest };
  return { repository: name.slice(0, colon), tag: name.slice(colon + 1), digest };
}

export function imageView(options: {
  readonly nowMs: number;
  readonly digests: boolean;
  readonly whole: boolean;
  readonly nodeCount: number;
}): ListView<ImageRow> {
  const { nowMs, digests, whole, nodeCount } = options;
  const shortened = (id: string) => (whole ? id : id.slice("sha256:".length, "sha256:".length + 12));
  return {
    heading: ["REPOSITORY", "TAG", ...(digests ? ["DIGEST"] : []), "IMAGE ID", "CREATED", "SIZE", "NODES"],
    id: ({ image }) => shortened(image.id),
    row: (row) => [
      row.repository,
      row.tag,
      ...(digests ? [row.digest || row.image.digest] : []),
      shortened(row.image.id),
      formatAge(row.image.created, nowMs) || "N/A",
      formatSize(row.image.size),
      row.nodes.length === nodeCount && nodeCount > 1 ? "all" : row.nodes.join(","),
    ],
    json: ({ image, repository, tag, digest, nodes, usedBy }) => ({
      id: image.id,
      repository,
      tag,
      digest: digest || image.digest,
      createdAt: formatTimestamp(image.created),
      size: image.size,
      platform: image.platform,
      labels: image.labels,
      loaded: image.loaded,
      nodes,
      usedBy,
    }),
  };
}

/** Decimal units as docker's: `77.8MB`. */
export function formatSize(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : Number(value.toPrecision(3))}${units[unit]}`;
}
