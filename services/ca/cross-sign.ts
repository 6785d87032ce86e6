import { X509Certificate as ParsedCertificate } from "node:crypto";
import { type ExternalCaOptions, signExternally } from "./external-ca.ts";
import { signingKey } from "./keys.ts";
import { splitPem } from "./root-ca.ts";
import { x509 } from "./x509.ts";

/** CFSSL's profile for requests that are for a CA (Swarm: ExternalCrossSignProfile). */
const crossSignProfile = "CA";
const basicConstraintsOid = "2.5.29.19";
const nameFields = ["C", "ST", "L", "O", "OU"] as const;

/**
 * The root `next` certified by the external CAs at `urls`, for those who trust theirs: asked for with next's own key, name and
 * constraints. Throws as `signExternally`.
 */
export async function crossSignExternally(
  urls: readonly string[],
  next: { readonly cert: string; readonly key: string },
  options: ExternalCaOptions,
): Promise<string> {
  const lib = await x509();
  const root = new lib.X509Certificate(next.cert);
  const { key, algorithm } = await signingKey(next.key);
  const publicKey = await root.publicKey.export(algorithm, ["verify"]);
  const request = await lib.Pkcs10CertificateRequestGenerator.create({
    name: root.subjectName,
    keys: { privateKey: key, publicKey } as never,
    signingAlgorithm: algorithm,
    extensions: root.extensions.filter(({ type }) => type === basicConstraintsOid),
  });
  const { subject } = new ParsedCertificate(next.cert).toLegacyObject();
  const fields = subject as unknown as Readonly<Record<string, string | readonly string[]>>;
  const first = (name: string) => [fields[name] ?? []].flat()[0];
  const names = nameFields.flatMap((name) => (first(name) === undefined ? [] : [[name, first(name)!] as const]));
  const constraints = root.extensions.find(({ type }) => type === basicConstraintsOid);
  const signed = await signExternally(
    urls,
    {
      certificate_request: `${request.toString("pem")}\n`,
      subject: { CN: first("CN") ?? "", names: names.length > 0 ? [Object.fromEntries(names)] : [] },
      profile: crossSignProfile,
      // CFSSL passes over extensions of the request other than alternative names.
      extensions: constraints
        ? [
            {
              id: basicConstraintsOid,
              critical: constraints.critical,
              value: Buffer.from(constraints.value).toString("hex"),
            },
          ]
        : [],
    },
    options,
  );
  return splitPem(signed)[0] ?? "";
}
