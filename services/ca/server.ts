import {
  type CA,
  Certificate,
  type Cluster,
  GetRootCACertificateResponse,
  GetUnlockKeyResponse,
  IssuanceStatus,
  IssuanceStatus_State,
  type IssueNodeCertificateRequest,
  IssueNodeCertificateResponse,
  Node,
  type NodeCA,
  NodeCertificateStatusResponse,
  type NodeReturn,
  NodeRole,
  NodeSpec,
  NodeSpec_Membership,
  removedNodeError,
  unlockKeyOf,
} from "@starling/api";
import { type Caller, type Handlers, managerRole, workerRole } from "@starling/api/rpc";
import { type Clock, type Logger, newId, SwarmError } from "@starling/base";
import type { MemoryStore } from "@starling/store";
import type { ExternalCaIdentity } from "./external-ca.ts";
import { issueCertificate, roleName, sameIssuer } from "./issue.ts";
import { secretsEqual } from "./keys.ts";
import { createReturnHandler } from "./return-server.ts";
import { runRootRotation } from "./root-rotator.ts";
import { type CertificateSigner, createCertificateSigner, mustCluster } from "./signer.ts";
import { runTogether } from "./together.ts";

export interface CaServerOptions {
  readonly store: MemoryStore;
  readonly clusterId: string;
  /** This manager's, shown to external CAs. */
  readonly identity: ExternalCaIdentity;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * The CA of a manager. `handlers` are to be served by the leader; `run` is its loop, which signs what they left and leads root
 * rotations to their end.
 */
export interface CaServer {
  readonly ca: Handlers<typeof CA>;
  readonly nodeCa: Handlers<typeof NodeCA>;
  readonly nodeReturn: Handlers<typeof NodeReturn>;
  run(signal: AbortSignal): Promise<void>;
}

export function createCaServer(options: CaServerOptions): CaServer {
  const signer = createCertificateSigner(options);
  const renewExpired = createReturnHandler(options, signer);
  return {
    ca: {
      getRootCACertificate: async () =>
        GetRootCACertificateResponse.create({ certificate: mustCluster(options).rootCa.caCert }),
      getUnlockKey: async () => {
        // A leader that was replaced unnoticed must not give a key that was rotated since.
        await options.store.read(() => undefined);
        const cluster = mustCluster(options);
        const unlockKey = unlockKeyOf(cluster);
        return GetUnlockKeyResponse.create({ version: cluster.meta.version, ...(unlockKey && { unlockKey }) });
      },
    },
    nodeCa: {
      issueNodeCertificate: (request, { caller }) => issue(options, signer, request, caller),
      nodeCertificateStatus: ({ nodeId }, { signal }) => awaitCertificate(options, nodeId, signal),
    },
    nodeReturn: { renewExpired },
    run: (signal) => runTogether([signer.run, (either) => runRootRotation(options, either)], signal),
  };
}

/** For ServiceOptions.admit: refuses nodes that were removed from the cluster while their certificate lasts. */
export function refuseRemovedNodes(cluster: () => Cluster | undefined): (caller: Caller) => void {
  return ({ nodeId }) => {
    if (nodeId !== "" && isRemoved(cluster(), nodeId)) {
      throw removedNodeError(nodeId);
    }
  };
}

/**
 * A node with a certificate of this cluster renews it under its id, with the role the cluster now gives it; anybody else
 * needs a join token, whose secret decides the role, and becomes a new node.
 */
async function issue(
  options: CaServerOptions,
  signer: CertificateSigner,
  request: IssueNodeCertificateRequest,
  caller: Caller,
): Promise<IssueNodeCertificateResponse> {
  if (request.csr.length === 0) throw new SwarmError("InvalidArgument", "csr: empty: send a PEM certificate request");
  const cluster = mustCluster(options);
  if (mayRenew(caller, cluster)) return await renew(options, signer, request.csr, caller.nodeId);
  const role = roleOfToken(cluster, request.token);
  if (role === undefined) {
    throw new SwarmError("InvalidArgument", "A valid join token is necessary to join this cluster");
  }
  const nodeId = newId();
  await createNode(options, { nodeId, role, request });
  options.log.info("node joins", { "node.id": nodeId, role: roleName(role) });
  return IssueNodeCertificateResponse.create({ nodeId, nodeMembership: NodeSpec_Membership.ACCEPTED });
}

/** With a certificate of the root that the cluster wants when the node is committed. */
async function createNode(
  options: CaServerOptions,
  wanted: { readonly nodeId: string; readonly role: NodeRole; readonly request: IssueNodeCertificateRequest },
): Promise<void> {
  const { nodeId, role, request } = wanted;
  for (let created = false; !created; ) {
    const cluster = mustCluster(options);
    const certificate = await issueCertificate(options, cluster, { csr: request.csr, nodeId, role });
    created = await options.store.update((tx) => {
      const present = tx.clusters.get(options.clusterId);
      if (present === undefined || !sameIssuer(present, cluster)) return false;
      tx.nodes.create(
        Node.create({
          id: nodeId,
          role,
          certificate,
          spec: NodeSpec.create({
            desiredRole: role,
            membership: NodeSpec_Membership.ACCEPTED,
            availability: request.availability,
          }),
          vxlanUdpPort: present.vxlanUdpPort,
        }),
      );
      return true;
    });
  }
}

async function renew(
  { store }: CaServerOptions,
  signer: CertificateSigner,
  csr: Uint8Array,
  nodeId: string,
): Promise<IssueNodeCertificateResponse> {
  const membership = await store.update((tx) => {
    const node = tx.nodes.get(nodeId);
    if (node === undefined) {
      throw new SwarmError("NotFound", `node ${nodeId} not found when attempting to renew certificate`);
    }
    const status = IssuanceStatus.create({ state: IssuanceStatus_State.RENEW });
    tx.nodes.update({ ...node, certificate: Certificate.create({ csr, cn: nodeId, role: node.role, status }) });
    return node.spec.membership;
  });
  await signer.sign(nodeId);
  return IssueNodeCertificateResponse.create({ nodeId, nodeMembership: membership });
}

/** Resolves when the node's certificate is issued, failed, or (rotation) is wanted anew. */
async function awaitCertificate(
  { store }: CaServerOptions,
  nodeId: string,
  signal: AbortSignal,
): Promise<NodeCertificateStatusResponse> {
  if (nodeId === "") throw new SwarmError("InvalidArgument", "node_id: empty: give the id that was issued");
  const answer = ({ certificate }: Node) =>
    NodeCertificateStatusResponse.create({ status: certificate.status, certificate });
  const found = store.viewAndWatch((tx) => tx.nodes.get(nodeId), { kinds: ["node"], signal });
  if (found.value === undefined) throw new SwarmError("NotFound", `node ${nodeId} not found`);
  if (isFinal(found.value)) {
    found.events.close();
    return answer(found.value);
  }
  for await (const event of found.events) {
    if (event.kind !== "node" || event.object.id !== nodeId) continue;
    if (event.action === "remove") throw new SwarmError("NotFound", `node ${nodeId} was removed`);
    if (isFinal(event.object)) return answer(event.object);
  }
  throw new SwarmError("Cancelled", "the caller went away");
}

function mayRenew(caller: Caller, cluster: Cluster): boolean {
  const hasRole = caller.roles.includes(workerRole) || caller.roles.includes(managerRole);
  return caller.nodeId !== "" && hasRole && caller.organization === cluster.id && !isRemoved(cluster, caller.nodeId);
}

/** Both comparisons are always made, so that time tells nothing. */
function roleOfToken(cluster: Cluster, token: string): NodeRole | undefined {
  const { manager, worker } = cluster.rootCa.joinTokens;
  const isManager = secretsEqual(manager, token);
  const isWorker = secretsEqual(worker, token);
  return isManager ? NodeRole.MANAGER : isWorker ? NodeRole.WORKER : undefined;
}

function isRemoved(cluster: Cluster | undefined, nodeId: string): boolean {
  return cluster !== undefined && Object.hasOwn(cluster.blacklistedCertificates, nodeId);
}

function isFinal({ certificate }: Node): boolean {
  const { state } = certificate.status;
  return (
    state === IssuanceStatus_State.ISSUED ||
    state === IssuanceStatus_State.FAILED ||
    state === IssuanceStatus_State.ROTATE
  );
}
