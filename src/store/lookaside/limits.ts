/** Bounds of signatures, wherever they are kept. */

/** An OpenPGP message with a payload of 500 bytes takes 1 KB; containers/image reads 4 MiB. */
export const maxSignatureBytes = 4 * 1024 * 1024;

/** Of one manifest, as containers/image has it since CVE-2024-3727's follow-ups: an endless list is an attack. */
export const maxSignatures = 128;
