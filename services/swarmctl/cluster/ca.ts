import {
  type CAConfig,
  type Cluster,
  Control,
  type Duration,
  durationMs,
  type ExternalCA,
  KeyRotation,
  ListNodesRequest,
  UpdateClusterRequest,
} from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import { changeOnce } from "../client/certain.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { parseDuration } from "../flags/values.ts";
import { UsageError } from "../usage-error.ts";
import { externalCaFlag, readPem } from "./external-ca.ts";
import { findCluster } from "./find.ts";
import { type RotationProgress, rotationProgress, waitingFor } from "./rotation-progress.ts";

interface CaFlags {
  readonly rotate?: boolean;
  readonly abort?: boolean;
  readonly caCert?: Uint8Array;
  readonly caKey?: Uint8Array;
  readonly certExpiry?: Duration;
  readonly externalCa?: readonly ExternalCA[];
  readonly detach?: boolean;
  readonly quiet?: boolean;
  readonly waitTimeout?: Duration;
}

const pollMs = 200;
/** How long the managers may be without a leader while we wait. */
const outageMs = 30_000;

/** Shows the root certificate; with `--rotate` replaces it, and waits until every node has followed. */
export const ca: Command<CaFlags> = {
  arguments: "[cluster]",
  flags: [
    { flags: "--rotate", help: "Replace the root: by a new one, or by the one of --ca-cert" },
    { flags: "--abort", help: "Give up the rotation that is under way" },
    { flags: "--ca-cert <file>", help: "PEM file of the root certificate to rotate to", parse: readPem },
    { flags: "--ca-key <file>", help: "PEM file of its key; without it external CAs sign", parse: readPem },
    { flags: "--cert-expiry <duration>", help: "Validity of node certificates (2160h)", parse: parseDuration },
    externalCaFlag,
    { flags: "-d, --detach", help: "Return at once instead of waiting for the nodes" },
    { flags: "-q, --quiet", help: "Show no progress while waiting" },
    {
      flags: "--wait-timeout <duration>",
      help: "Give up waiting after this long, with the nodes that lack; the rotation goes on",
      parse: parseDuration,
    },
  ],
  notes: "A rotation waits for nodes that are down: start them, or remove them with `swarmctl node rm --force`.",
  async run(context, [reference], flags) {
    checkFlags(flags);
    if (!flags.rotate && !flags.abort) {
      const { rootCa } = await findCluster(context.client, reference);
      return context.out(Buffer.from(rootCa.caCert).toString("utf8"));
    }
    const changed = await change(context, reference, flags);
    if (flags.abort) return context.out("The root rotation was given up.\n");
    if (flags.detach) return;
    await waitForNodes(context, changed, flags);
    const { rootCa } = await findCluster(context.client, changed.id);
    context.out(Buffer.from(rootCa.caCert).toString("utf8"));
  },
};

function checkFlags({ rotate, abort, caCert, caKey, certExpiry, externalCa }: CaFlags): void {
  if (rotate && abort) throw new UsageError("--rotate and --abort exclude each other");
  const given = { "--ca-cert": caCert, "--ca-key": caKey, "--cert-expiry": certExpiry, "--external-ca": externalCa };
  for (const [flag, value] of Object.entries(given)) {
    if (value !== undefined && !rotate) throw new UsageError(`${flag} requires the --rotate flag to update the CA`);
  }
  if (caKey && !caCert) throw new UsageError("--ca-key requires the --ca-cert flag: give the certificate of that key");
}

async function change(context: Context, reference: string | undefined, flags: CaFlags): Promise<Cluster> {
  const { client } = context;
  return await changeOnce(context, {
    read: () => findCluster(client, reference),
    write: async (present) => {
      if (flags.abort && present.rootCa.rootRotation === undefined) {
        throw new SwarmError("FailedPrecondition", "there is no root rotation to give up");
      }
      const request = UpdateClusterRequest.create({
        clusterId: present.id,
        clusterVersion: present.meta.version,
        spec: { ...present.spec, caConfig: withFlags(present, flags) },
        rotation: KeyRotation.create(),
      });
      return (await client.call(Control.methods.updateCluster, request)).cluster!;
    },
    isDone: (present, base) => {
      if (flags.abort) return present.rootCa.rootRotation === undefined;
      // Only a rotation changes these; after an answer that was lost it was ours.
      const wanted = (cluster: Cluster) => Buffer.from(cluster.rootCa.rootRotation?.caCert ?? cluster.rootCa.caCert);
      return !wanted(present).equals(wanted(base));
    },
  });
}

function withFlags({ spec, rootCa }: Cluster, flags: CaFlags): CAConfig {
  const { caConfig } = spec;
  if (flags.abort) return { ...caConfig, signingCaCert: rootCa.caCert };
  const { caCert, caKey, certExpiry, externalCa } = flags;
  return {
    ...caConfig,
    nodeCertExpiry: certExpiry ?? caConfig.nodeCertExpiry,
    // Endpoints without a root of their own are those of the root that is rotated to (Docker: mergeSwarmSpecCAFlags).
    externalCas: externalCa
      ? externalCa.map((each) => (each.caCert.length === 0 && caCert ? { ...each, caCert } : each))
      : caConfig.externalCas,
    ...(caCert
      ? { signingCaCert: caCert, signingCaKey: caKey ?? new Uint8Array() }
      : { forceRotate: caConfig.forceRotate + 1 }),
  };
}

/** Throws DeadlineExceeded naming the nodes that lack. */
async function waitForNodes(context: Context, cluster: Cluster, flags: CaFlags): Promise<void> {
  const { clock, signal } = context;
  const display = new RotationDisplay(context, flags.quiet ?? false);
  let answeredMs = clock.monotonic();
  const deadlineMs = answeredMs + durationMs(flags.waitTimeout, Number.POSITIVE_INFINITY);
  try {
    for (;;) {
      const progress = await look(context, cluster.id, clock.monotonic() - answeredMs < outageMs);
      const now = clock.monotonic();
      if (progress) {
        answeredMs = now;
        display.show(progress);
        if (progress.done) return;
      }
      if (now >= deadlineMs) throw notInTime(progress);
      await clock.sleep(pollMs, signal);
    }
  } catch (thrown) {
    if (signal.aborted) {
      context.err(
        "\nOperation continuing in background.\nUse `swarmctl cluster inspect --pretty` to check progress.\n",
      );
    }
    throw thrown;
  }
}

/** Undefined when the managers have no leader just now and `patient`. */
async function look(
  { client, signal }: Context,
  clusterId: string,
  patient: boolean,
): Promise<RotationProgress | undefined> {
  try {
    const [cluster, { nodes }] = await Promise.all([
      findCluster(client, clusterId),
      client.call(Control.methods.listNodes, ListNodesRequest.create(), { signal }),
    ]);
    return rotationProgress(cluster, nodes);
  } catch (thrown) {
    const { code } = SwarmError.from(thrown);
    if (patient && (code === "Unavailable" || code === "DeadlineExceeded") && !signal.aborted) return undefined;
    throw thrown;
  }
}

function notInTime(progress: RotationProgress | undefined): SwarmError {
  const state = progress
    ? `${progress.certificates} of ${progress.nodes} nodes have a certificate of the new root, ${waitingFor(progress) || "not all trust it alone"}`
    : "the managers did not answer";
  return new SwarmError(
    "DeadlineExceeded",
    `the root rotation has not ended in time: ${state}: start or remove those nodes, or give up with swarmctl cluster ca --abort`,
  );
}

/** A line for each step, since the steps are few: `rotated TLS certificates: 3 of 5 nodes, waiting for w2 (down)`. */
class RotationDisplay {
  readonly #context: Context;
  readonly #quiet: boolean;
  readonly #shown = new Set<string>();

  constructor(context: Context, quiet: boolean) {
    this.#context = context;
    this.#quiet = quiet;
  }

  show(progress: RotationProgress): void {
    const { digest, nodes, certificates, trust } = progress;
    this.#line(`desired root digest: ${digest}`);
    const waiting = waitingFor(progress);
    this.#line(`rotated TLS certificates: ${certificates} of ${nodes} nodes${waiting && `, ${waiting}`}`);
    this.#line(`rotated CA certificates: ${trust} of ${nodes} nodes`);
  }

  #line(text: string): void {
    if (this.#quiet || this.#shown.has(text)) return;
    this.#shown.add(text);
    this.#context.out(`${text}\n`);
  }
}
