import {
  InspectNetworkRequest as Inspect,
  type InspectNetworkRequest,
  NetworkDiagnosis,
  type NodeInspection,
} from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import { resolveNode } from "../client/resolve.ts";
import type { Context } from "../context.ts";
import { formatList, type ListView, wantsJson } from "../format/list.ts";
import { formatTable } from "../format/table.ts";
import { pathCells, pathHeading, pathRows, withoutMirrored } from "./paths.ts";

/**
 * Asks nodes (all when none is named) to look at their network, and prints a line for each thing they found, then the paths of
 * encrypted packets that they told.
 */
export async function diagnose(
  { client, out }: Context,
  options: {
    readonly request: Partial<InspectNetworkRequest>;
    readonly nodes: readonly string[];
    readonly format: string | undefined;
    /** The error when something is wrong still, given how much and on how many nodes. */
    readonly verdict: (found: number, nodes: number) => string;
  },
): Promise<void> {
  const nodes = await Promise.all(options.nodes.map((reference) => resolveNode(client, reference)));
  const request = Inspect.create({ ...options.request, nodeIds: nodes.map(({ id }) => id) });
  const response = await client.call(NetworkDiagnosis.methods.inspect, request);
  const names = new Map(response.nodes.map(({ nodeId, hostname }) => [nodeId, hostname]));
  const named = (text: string) =>
    text.replace(/\bnode (\w{25})\b/g, (all, id) => `node ${names.get(id) || all.slice(5)}`);
  const rows = response.nodes.flatMap(rowsOf).map((row) => ({ ...row, detail: named(row.detail) }));
  const format = options.format === undefined ? {} : { format: options.format };
  const paths = pathRows(response.nodes, (id) => names.get(id) || id);
  if (wantsJson(format)) {
    const found = paths.map((path) => ({ ...path, result: "path" }));
    out(`${JSON.stringify([...rows, ...found], undefined, 2)}\n`);
  } else {
    out(formatList(rows, view, format));
    if (paths.length > 0) out(`\n${formatTable(pathHeading, withoutMirrored(paths).map(pathCells))}`);
  }
  const bad = rows.filter(({ result }) => result === "found" || result === "no answer");
  if (bad.length === 0) return;
  const verdict = options.verdict(bad.length, new Set(bad.map(({ nodeId }) => nodeId)).size);
  throw new SwarmError("FailedPrecondition", verdict);
}

interface Row {
  readonly nodeId: string;
  readonly node: string;
  readonly result: "ok" | "found" | "mended" | "no answer";
  readonly subject: string;
  readonly detail: string;
}

function rowsOf({ nodeId, hostname, findings, error }: NodeInspection): readonly Row[] {
  const node = hostname || nodeId;
  if (error !== "") return [{ nodeId, node, result: "no answer", subject: "", detail: error }];
  if (findings.length === 0) return [{ nodeId, node, result: "ok", subject: "", detail: "" }];
  return findings.map(({ subject, detail, repaired }) => {
    return { nodeId, node, result: repaired ? "mended" : "found", subject, detail };
  });
}

const view: ListView<Row> = {
  heading: ["NODE", "RESULT", "SUBJECT", "DETAIL"],
  id: ({ nodeId }) => nodeId,
  row: ({ node, result, subject, detail }) => [node, result, subject, detail],
  json: (row) => row,
};
