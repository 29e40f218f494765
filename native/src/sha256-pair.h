// Two SHA-256 digests over the same bytes for little more than the price of one.
#pragma once

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <cstddef>
#include <cstdint>

namespace imgfs {

// Add `data` to both. Where the processor has SHA instructions, each of which waits for the one before, the two are
// worked on in turns and fill each other's gaps; elsewhere one follows the other.
void updateBoth(SHA256_CTX& first, SHA256_CTX& second, const uint8_t* data, size_t length);

}  // namespace imgfs
