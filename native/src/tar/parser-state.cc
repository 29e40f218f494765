// The state of a parser as bytes, for a pass that goes on where it was interrupted.
#include "parser.h"

namespace imgfs {

void TarParser::save(ByteWriter& writer) const {
  writer.value(phase_);
  writer.value(offset_);
  writer.value(blockFilled_);
  writer.raw(block_, blockFilled_);
  writer.value(skipData_);
  writer.value(skipPadding_);
  writer.value(payloadFlag_);
  writer.value(payloadSize_);
  writer.text(payload_);
  writer.value(preceding_.any);
  writer.value(preceding_.headerOffset);
  writer.value(preceding_.hasPax);
  writer.text(preceding_.longName);
  writer.text(preceding_.longLink);
  preceding_.pax.save(writer);
  draft_.save(writer);
  map_.save(writer);
}

bool TarParser::restore(ByteReader& reader) {
  *this = TarParser();
  phase_ = reader.value<Phase>();
  offset_ = reader.value<uint64_t>();
  blockFilled_ = reader.value<uint32_t>();
  if (phase_ > Phase::ended || blockFilled_ >= kBlock) return false;
  reader.raw(block_, blockFilled_);
  skipData_ = reader.value<uint64_t>();
  skipPadding_ = reader.value<uint64_t>();
  payloadFlag_ = reader.value<uint8_t>();
  payloadSize_ = reader.value<uint64_t>();
  payload_ = reader.text();
  preceding_.any = reader.value<uint8_t>() != 0;
  preceding_.headerOffset = reader.value<uint64_t>();
  preceding_.hasPax = reader.value<uint8_t>() != 0;
  preceding_.longName = reader.text();
  preceding_.longLink = reader.text();
  preceding_.pax.restore(reader);
  draft_.restore(reader);
  map_.restore(reader);
  return reader.ok() && payload_.size() <= payloadSize_;
}

}  // namespace imgfs
