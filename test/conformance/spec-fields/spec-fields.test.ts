import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { specWrittenBy } from "./command-line.ts";
import { fieldsOf, isEmptyMessage, valuesAt } from "./fields.ts";
import { clusterFields, configFields, networkFields, nodeFields, secretFields } from "./other-fields.ts";
import { type FieldRow, serviceFields } from "./service-fields.ts";

const folder = mkdtempSync(join(tmpdir(), "starling-spec-fields-"));
const certificate = join(folder, "ca.pem");
writeFileSync(certificate, "-----BEGIN CERTIFICATE-----\n");
afterAll(() => rmSync(folder, { recursive: true }));

/** Fields that every spec has and no command sets. */
const ofAll: readonly FieldRow[] = [
  ["annotations.indices.key", "for clients of the API that look objects up by keys of their own"],
  ["annotations.indices.val", "for clients of the API that look objects up by keys of their own"],
];
const name: FieldRow = ["annotations.name", "the command's argument"];

/** Each spec, the words before and behind the flags, and its fields. VolumeSpec is for CSI volumes, which are not offered. */
const specs: readonly [
  spec: string,
  before: readonly string[],
  behind: readonly string[],
  rows: readonly FieldRow[],
][] = [
  ["ServiceSpec", ["service", "create", "--detach", "--no-resolve-image"], ["nginx"], serviceFields],
  ["NetworkSpec", ["network", "create"], ["fresh"], networkFields],
  ["NodeSpec", ["node", "update"], ["node-id"], nodeFields],
  ["ClusterSpec", ["cluster", "update"], [], clusterFields],
  ["SecretSpec", ["secret", "create"], ["fresh", "-"], [name, ...secretFields]],
  ["ConfigSpec", ["config", "create"], ["fresh", "-"], [name, ...configFields]],
];

describe.each(specs)("%s", (spec, before, behind, rows) => {
  const all = [...ofAll, ...rows];

  it("has a flag for each field, or says why not", () => {
    expect(all.map(([field]) => field).toSorted()).toEqual(fieldsOf(spec).toSorted());
    for (const [field, how] of all) expect(how.length, field).toBeGreaterThan(0);
  });

  const settable = rows.filter((row): row is readonly [string, readonly string[]] => typeof row[1] !== "string");
  it.each(settable)("%s is set by %j", async (field, words) => {
    const given = words.map((word) => word.replace("CERTIFICATE", certificate));
    // SwarmKit's form has the image as a flag, too.
    const image = given[0] === "--image" ? [] : behind;
    const plain = valuesAt(await specWrittenBy([...before, ...behind]), field);
    const values = valuesAt(await specWrittenBy([...before, ...given, ...image]), field);
    // What the plain command has there already must change; what it leaves out must get a value.
    if (plain.length > 0) expect(values).not.toEqual(plain);
    else expect(values.some((value) => isSet(value, spec, field))).toBe(true);
  });
});

/** Fields whose one value is the enum's first. */
const firstOfEnum = ["caConfig.externalCas.protocol"];

/** Whether a value is more than what a field has that nobody sets; a message without fields is set by being there. */
function isSet(value: unknown, spec: string, field: string): boolean {
  if (firstOfEnum.includes(field) || isEmptyMessage(spec, field)) return true;
  if (typeof value === "object") return Object.keys(value as object).length > 0;
  return value !== "" && value !== 0 && value !== false;
}
