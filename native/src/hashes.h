// Hashes whose state can be saved and restored: the SHA-2 contexts of OpenSSL are plain structures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "bytes.h"
#include "sha256-pair.h"

namespace imgfs {

inline void sha256Of(const uint8_t* data, size_t length, uint8_t out[32]) {
  SHA256_CTX context;
  SHA256_Init(&context);
  SHA256_Update(&context, data, length);
  SHA256_Final(out, &context);
}

// The digest of a blob, in the algorithm its name asks for. `none` where JavaScript verifies by other means.
class BlobHash {
 public:
  enum class Algorithm : uint8_t { none, sha256, sha512 };

  explicit BlobHash(Algorithm algorithm = Algorithm::none) : algorithm_(algorithm) {
    if (algorithm_ == Algorithm::sha256) SHA256_Init(&state_.s256);
    if (algorithm_ == Algorithm::sha512) SHA512_Init(&state_.s512);
  }
  void update(const uint8_t* data, size_t length) {
    if (algorithm_ == Algorithm::sha256) SHA256_Update(&state_.s256, data, length);
    if (algorithm_ == Algorithm::sha512) SHA512_Update(&state_.s512, data, length);
  }
  // The same, and to a digest of a part of the blob.
  void updateWith(SHA256_CTX& part, const uint8_t* data, size_t length) {
    if (algorithm_ == Algorithm::sha256) return updateBoth(state_.s256, part, data, length);
    update(data, length);
    SHA256_Update(&part, data, length);
  }
  // Lower-case hex; empty for `none`.
  std::string finish() {
    uint8_t out[64];
    size_t length = 0;
    if (algorithm_ == Algorithm::sha256) {
      SHA256_Final(out, &state_.s256);
      length = 32;
    } else if (algorithm_ == Algorithm::sha512) {
      SHA512_Final(out, &state_.s512);
      length = 64;
    }
    std::string hex;
    for (size_t at = 0; at < length; ++at) {
      hex += "0123456789abcdef"[out[at] >> 4];
      hex += "0123456789abcdef"[out[at] & 15];
    }
    return hex;
  }
  void save(ByteWriter& writer) const {
    writer.value(algorithm_);
    writer.value(state_);
  }
  bool restore(ByteReader& reader) {
    const auto algorithm = reader.value<Algorithm>();
    state_ = reader.value<State>();
    return reader.ok() && algorithm == algorithm_;
  }

 private:
  union State {
    SHA256_CTX s256;
    SHA512_CTX s512;
  };
  Algorithm algorithm_;
  State state_ = {};
};

}  // namespace imgfs
