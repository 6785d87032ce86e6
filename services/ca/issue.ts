import { X509Certificate as ParsedCertificate } from "node:crypto";
import { Certificate, type Cluster, durationMs, IssuanceStatus, IssuanceStatus_State, NodeRole } from "@starling/api";
import { managerRole, workerRole } from "@starling/api/rpc";
import { type Clock, SwarmError } from "@starling/base";
import { readNodeCertificate } from "./certificate.ts";
import { pemText, rootOf, wantedRoot } from "./cluster.ts";
import { type ExternalCaIdentity, externalUrls, signExternally } from "./external-ca.ts";
import { readCertificateRequest } from "./keys.ts";
import { type CertificateSubject, namesOf, type RootCA, splitPem } from "./root-ca.ts";

export interface IssueOptions {
  readonly clock: Clock;
  /** Shown to external CAs. */
  readonly identity: ExternalCaIdentity;
}

/** What is to be certified. */
export interface WantedCertificate {
  readonly csr: Uint8Array;
  readonly nodeId: string;
  readonly role: NodeRole;
}

/**
 * The node's certificate, issued by the external CAs of the wanted root if there are any, else with the cluster's own key. Done
 * outside any transaction: it takes milliseconds. Throws InvalidArgument for a bad request, FailedPrecondition when an external
 * CA refuses or answers something else, Unavailable when it cannot be asked: then it is to be tried again.
 */
export async function issueCertificate(
  options: IssueOptions,
  cluster: Cluster,
  wanted: WantedCertificate,
): Promise<Certificate> {
  const subject = { nodeId: wanted.nodeId, role: roleName(wanted.role), organization: cluster.id };
  const root = rootOf(cluster);
  const urls = externalUrls(cluster, wantedRoot(cluster), cluster.spec.caConfig.externalCas);
  if (urls.length === 0 && !root.canSign) {
    throw new SwarmError("Unavailable", "no external CA is set for the cluster's root certificate, whose key it lacks");
  }
  const chainPem =
    urls.length > 0
      ? await signOutside(options, { cluster, root, urls, subject, csr: wanted.csr })
      : await root.signRequest(wanted.csr, subject, {
          now: options.clock.now(),
          validityMs: durationMs(cluster.spec.caConfig.nodeCertExpiry),
        });
  return Certificate.create({
    role: wanted.role,
    csr: wanted.csr,
    cn: wanted.nodeId,
    status: IssuanceStatus.create({ state: IssuanceStatus_State.ISSUED }),
    certificate: Buffer.from(chainPem),
  });
}

/** Would both have certificates signed by the same root, to be trusted by the same root? */
export function sameIssuer(a: Cluster, b: Cluster): boolean {
  return wantedRoot(a) === wantedRoot(b) && pemText(a.rootCa.caCert) === pemText(b.rootCa.caCert);
}

/** The OU that stands for a role. */
export function roleName(role: NodeRole): string {
  return role === NodeRole.MANAGER ? managerRole : workerRole;
}

async function signOutside(
  { clock, identity }: IssueOptions,
  of: {
    readonly cluster: Cluster;
    readonly root: RootCA;
    readonly urls: readonly string[];
    readonly subject: CertificateSubject;
    readonly csr: Uint8Array;
  },
): Promise<string> {
  const { cluster, root, subject } = of;
  const request = await readCertificateRequest(of.csr);
  const signed = await signExternally(
    of.urls,
    {
      hosts: namesOf(subject),
      certificate_request: pemText(of.csr),
      subject: { CN: subject.nodeId, names: [{ OU: subject.role, O: subject.organization }] },
    },
    // During a rotation the CA's own certificate may be of either root.
    { rootPem: root.certificatePem + wantedRoot(cluster), identity, clock },
  );
  const now = clock.now();
  const chainPem = signed + root.intermediatesPem;
  try {
    readNodeCertificate({ chainPem: signed, rootPem: wantedRoot(cluster), now });
    const { nodeId, role, organization } = readNodeCertificate({ chainPem, rootPem: root.certificatePem, now });
    if (nodeId !== subject.nodeId || role !== subject.role || organization !== subject.organization) {
      throw new SwarmError("FailedPrecondition", `it is of node ${nodeId}, ${role}, cluster ${organization}`);
    }
    const leaf = new ParsedCertificate(splitPem(signed)[0] ?? "");
    const key = leaf.publicKey.export({ type: "spki", format: "der" });
    if (!key.equals(Buffer.from(request.publicKey.rawData))) {
      throw new SwarmError("FailedPrecondition", "it is of another key than was asked for");
    }
  } catch (thrown) {
    const why = SwarmError.from(thrown).message;
    throw new SwarmError("FailedPrecondition", `the external CA's certificate is refused: ${why}`, { cause: thrown });
  }
  return chainPem;
}
