/** Names as bytes: they live in `oci/`, because layers know them too. */
export {
  maxNameBytes,
  nameFromBytes,
  nameFromText,
  nameToBytes,
  nameToText,
  type Name,
} from '../oci/name.js';
