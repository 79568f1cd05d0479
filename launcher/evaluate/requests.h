// The request protocol: what another program wants scored or continued, as JSON lines, a request
// each; an answer each, in the same order.
//
//   {"id": ANY, "type": "loglikelihood", "context": TEXT, "continuation": TEXT}
//   {"id": ANY, "type": "rolling", "text": TEXT}           "context" is taken for "text"
//     -> {"id": ANY, "log_likelihood": nats, "is_greedy": bool, "tokens": n, "bytes": n}
//   {"id": ANY, "type": "generate", "context": TEXT, "until": TEXT or [TEXT, ...], "max_tokens": n}
//     -> {"id": ANY, "text": TEXT}     greedy; ends before the first of "until", at the end of the
//                                      document, or after max_tokens (default 256)
// "tokens" and "bytes" are the continuation's (the text's). An "id" may be left out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "launcher/evaluate/text_evaluation.h"
#include "model/model.h"

namespace dualpath {

class RequestAnswerer {
 public:
  // The model is that of the scorer.
  RequestAnswerer(const EvaluatedModel& evaluated, Model& model, Communicator& ranks)
      : evaluated_(evaluated), model_(model), ranks_(ranks) {}

  // The answers to lines of requests, on rank 0. Throws Error(data), with the number of the line
  // within `lines` counted from first_line, for a line that is no request. Collective.
  std::vector<std::string> answer(const std::vector<std::string>& lines, std::size_t first_line);

 private:
  EvaluatedModel evaluated_;
  Model& model_;
  Communicator& ranks_;
};

// Reads requests from a file, or from standard input for "-", and writes the answers to standard
// output. Requests that are there together are answered together, at most some thousand; a reader
// that waits for an answer before it asks again gets it at once. Returns how many. Collective.
std::size_t answer_requests(RequestAnswerer& answerer, const std::string& file,
                            Communicator& ranks);

}  // namespace dualpath
