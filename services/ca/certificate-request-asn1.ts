export { Attributes, CertificationRequest, CertificationRequestInfo } from "@peculiar/asn1-csr";
export { AsnConvert } from "@peculiar/asn1-schema";
export { AlgorithmIdentifier, Name, SubjectPublicKeyInfo } from "@peculiar/asn1-x509";
