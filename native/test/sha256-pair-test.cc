// Two digests at once beside OpenSSL's one by one.
#include <random>

#include "../src/hashes.h"
#include "check.h"

using namespace imgfs;

TEST(pairAgrees, "sha256: two digests over the same bytes, begun and cut anywhere, are what each is alone") {
  std::mt19937 random(8);
  std::vector<uint8_t> bytes(20000);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  for (int round = 0; round < 2000; ++round) {
    SHA256_CTX contexts[4];
    for (SHA256_CTX& context : contexts) SHA256_Init(&context);
    // The second begins later: their blocks do not lie at the same places.
    const size_t lead = random() % 300;
    SHA256_Update(&contexts[0], bytes.data(), lead);
    SHA256_Update(&contexts[2], bytes.data(), lead);
    for (size_t at = lead; at < 2500;) {
      const size_t length = random() % (random() % 4 == 0 ? 2000 : 130);
      updateBoth(contexts[0], contexts[1], bytes.data() + at, length);
      SHA256_Update(&contexts[2], bytes.data() + at, length);
      SHA256_Update(&contexts[3], bytes.data() + at, length);
      at += length;
    }
    uint8_t digests[4][32];
    for (size_t at = 0; at < 4; ++at) SHA256_Final(digests[at], &contexts[at]);
    CHECK(memcmp(digests[0], digests[2], 32) == 0);
    CHECK(memcmp(digests[1], digests[3], 32) == 0);
  }
}

TEST(pairCounts, "sha256: the length of what was hashed in pairs is counted beyond 32 bits") {
  SHA256_CTX pair[2], alone;
  for (SHA256_CTX* context : {&pair[0], &pair[1], &alone}) {
    SHA256_Init(context);
    // 512 MiB before: so many bits are just below 2^32.
    context->Nl = 0xfffff800;
  }
  const std::vector<uint8_t> bytes(4096, 7);
  updateBoth(pair[0], pair[1], bytes.data(), bytes.size());
  SHA256_Update(&alone, bytes.data(), bytes.size());
  CHECK_EQUAL(pair[0].Nh, alone.Nh);
  CHECK_EQUAL(pair[0].Nl, alone.Nl);
  CHECK_EQUAL(pair[1].Nh, 1);
}
