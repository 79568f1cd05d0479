"""Exported models in Hugging Face's transformers beside the program that wrote them.

    python3 tests/reference/check_export.py build/dualpath

For every fixture: its weights go through `checkpoint import` and `export` and must come back bit by bit;
transformers load what was exported, and the logits must be the fixture's, in one pass, behind a KV cache
in pieces, and in a batch with padding on the left. Then a larger model with each fixture's options and
random weights, with a tokenizer, continues a text greedily by 200 tokens: `dualpath generate` and
transformers, with a KV cache and without, must write the same text. The tokenizers of
tests/tokenizer_fixture, GPT-2's files among them, must give the same ids. Needs PyTorch, transformers,
safetensors and PyYAML; run it with each version of transformers that is to be supported.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
import dual_path  # noqa: E402
import safetensors_file  # noqa: E402

# Chains of at most 1000 operations on sums of at most 100 terms, as in tests/torch_parity_test.cpp.
TOLERANCE = {torch.float32: 1e4 * 2.0**-23, torch.float64: 1e4 * 2.0**-52}

ATTENTION = ("query", "key", "value", "query_norm", "key_norm", "output")


def hf_name(parameter):
    if parameter == "head":
        return "lm_head.weight"
    *prefix, leaf = parameter.split(".")
    if leaf in ("attention_norm", "ffn_norm"):
        leaf = leaf.replace("_", ".") + ".weight"
    elif leaf in ATTENTION:
        leaf = f"attention.{leaf}.weight"
    elif leaf in ("gate", "up", "down"):
        leaf = f"ffn.{leaf}.weight"
    elif leaf not in ("gain", "weight", "bias"):
        leaf += ".weight"
    return ".".join(["model", *prefix, leaf])


def model_config(text):
    """dual_path.ModelConfig of a fixture's YAML, which leaves out what is zero."""
    fields = yaml.safe_load(text)
    parts = {"deep": dual_path.DeepConfig, "wide": dual_path.WideConfig, "gate": dual_path.GateConfig}
    for name, part in parts.items():
        fields[name] = part(**fields.get(name, {}))
    return dual_path.ModelConfig(**fields)


def hf_config(config):
    """config.json by hand."""
    return {
        "model_type": "dualpath",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.attention_heads,
        "num_key_value_heads": config.kv_heads,
        "max_position_embeddings": config.sequence_length,
        "layer_architectures": [config.architecture_of(layer) for layer in range(config.layers)],
        "deep_iterations": config.deep.iterations,
        "deep_intermediate_size": config.deep.ffn_hidden_size,
        "deep_combine": config.deep.combine,
        "deep_iteration_norm": config.deep.iteration_norm,
        "deep_input_injection": config.deep.input_injection,
        "wide_intermediate_size": config.wide.ffn_hidden_size,
        "gate_mode": config.gate.mode,
        "gate_target": config.gate.target,
        "shared_attention": config.shared_attention,
        "qk_norm": config.qk_norm,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied_embeddings,
        "initializer_range": 0.02,
        "deep_gain_init": -7.0,
        "wide_gain_init": -7.0,
        "router_bias_init": 0.0,
    }


def run(*words):
    result = subprocess.run(list(map(str, words)), capture_output=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: exit code {result.returncode}\n{result.stderr.decode()}")
    return result.stdout


def write_folder(folder, config, parameters, tokenizer=None):
    folder.mkdir()
    tensors = {hf_name(name): value.contiguous() for name, value in parameters.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(hf_config(config)))
    for name in ("tokenizer.json", "tokenizer_config.json") if tokenizer else ():
        (folder / name).write_bytes((tokenizer / name).read_bytes())
    return tensors


def there_and_back(dualpath, folder, config, parameters, tokenizer=None):
    """The folder of the run and of the export; fails where a weight came back with other bits."""
    tensors = write_folder(folder / "written", config, parameters, tokenizer)
    run(dualpath, "checkpoint", "import", folder / "written", folder / "run")
    run(dualpath, "checkpoint", "export", folder / "run", folder / "exported",
        "export.max_shard_bytes=20000")
    exported = {}
    for path in (folder / "exported").glob("*.safetensors"):
        exported.update(load_file(path))
    assert exported.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(exported[name].view(torch.int32), tensor.view(torch.int32)), name
    return folder / "run", folder / "exported"


def load(folder, dtype=torch.float32):
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, torch_dtype=dtype)
    return model.eval()


def error(found, expected):
    return ((found.double() - expected).norm() / expected.norm()).item()


@torch.no_grad()
def logits_in_pieces(model, ids):
    """Some tokens at once, then one by one, then the rest."""
    third, length = ids.shape[1] // 3, ids.shape[1]
    ends = sorted({end for end in (third, third + 1, third + 2, length) if 0 < end <= length})
    cache, begin, pieces = None, 0, []
    for end in ends:
        output = model(ids[:, begin:end], past_key_values=cache, use_cache=True)
        cache, begin = output.past_key_values, end
        pieces.append(output.logits)
    return torch.cat(pieces, dim=1)


@torch.no_grad()
def logits_with_padding(model, ids):
    """Of the second half of the first text, batched with the whole of it."""
    half = ids.shape[1] // 2
    short = torch.cat([torch.zeros_like(ids[:1, half:]), ids[:1, :ids.shape[1] - half]], dim=1)
    short = short[:, -ids.shape[1]:]
    mask = torch.ones(2, ids.shape[1], dtype=torch.long)
    mask[1, :half] = 0
    both = model(torch.cat([ids[:1], short]), attention_mask=mask, use_cache=False).logits
    return both[1:, half:]


def check_fixture(dualpath, path, folder):
    arrays, metadata = safetensors_file.read(path)
    config = model_config(metadata["model"])
    prefix = "parameters."
    parameters = {name[len(prefix):]: torch.from_numpy(value.copy())
                  for name, value in arrays.items() if name.startswith(prefix)}
    _, exported = there_and_back(dualpath, folder, config, parameters)
    ids = torch.from_numpy(arrays["ids"][0].astype(numpy.int64))
    expected = torch.from_numpy(arrays["logits"].copy())
    worst = {}
    for dtype, tolerance in TOLERANCE.items():
        model = load(exported, dtype)
        with torch.no_grad():
            whole = model(ids, use_cache=False).logits
        half = ids.shape[1] // 2
        errors = {
            "whole": error(whole, expected),
            "cache": error(logits_in_pieces(model, ids), expected),
            "padding": error(logits_with_padding(model, ids), expected[:1, :ids.shape[1] - half]),
        }
        for what, value in errors.items():
            assert value <= tolerance, f"{path.stem}: {dtype} {what}: {value} > {tolerance}"
        worst[dtype] = max(errors.values())
    return worst


def random_parameters(config, seed, end_of_text):
    """Of a model whose texts do not end."""
    generator = torch.Generator().manual_seed(seed)
    parameters = {}
    for name, shape in dual_path.parameter_shapes(config).items():
        value = torch.randn(shape, generator=generator) * 0.3
        parameters[name] = value + 1 if name.endswith("norm") else value
    parameters["embedding" if config.tied_embeddings else "head"][end_of_text] *= 0.01
    return parameters


@torch.no_grad()
def greedy(model, ids, tokens, use_cache):
    return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens,
                          do_sample=False, use_cache=use_cache)[0].tolist()


def text_of(tokenizer, ids):
    """As bytes: the text of a random model is not always UTF-8."""
    symbols = {symbol: byte for byte, symbol in byte_symbols().items()}
    text = b""
    for token in tokenizer.convert_ids_to_tokens(ids):
        text += bytes(symbols[symbol] for symbol in token)
    return text


def byte_symbols():
    """GPT-2's printable symbol of each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def check_generation(dualpath, path, folder, corpus, num_tokens, tokens):
    """How many tokens both wrote, one text."""
    _, metadata = safetensors_file.read(path)
    config = model_config(metadata["model"])
    config.vocab_size, config.sequence_length = num_tokens + 7, 256
    parameters = random_parameters(config, 5, num_tokens - 1)
    run_folder, exported = there_and_back(dualpath, folder, config, parameters, corpus)
    prompt = "Line 7"
    written = run(dualpath, "generate", run_folder, f"prompt={prompt}", f"tokens={tokens}",
                  "temperature=0")
    tokenizer = AutoTokenizer.from_pretrained(exported, trust_remote_code=True)
    assert tokenizer.eos_token_id == num_tokens - 1
    ids = [tokenizer.eos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    model = load(exported)
    first = greedy(model, torch.tensor([ids]), tokens, True)
    assert first == greedy(model, torch.tensor([ids]), tokens, False), f"{path.stem}: cache"
    if first[-1] == tokenizer.eos_token_id:
        first.pop()
    text = text_of(tokenizer, first[1:]) + b"\n"
    assert text == written, f"{path.stem}: texts differ\n{text!r}\n{written!r}"
    return len(first) - len(ids)


def tokenizer_cases(source):
    """Texts and their ids; those of GPT-2's files by the library that reads such files."""
    if (source / "cases.json").exists():
        return [(case["text"], case["recognized"])
                for case in json.loads((source / "cases.json").read_text())]
    library = ByteLevelBPETokenizer(str(source / "vocab.json"), str(source / "merges.txt"))
    return [(text, library.encode(text).ids) for text, _ in tokenizer_cases(source / "gpt2")
            if "<|" not in text]


def check_tokenizer(dualpath, source, folder):
    """The ids of the strings of tests/tokenizer_fixture, by transformers' tokenizer of an export."""
    folder.mkdir()
    config = dual_path.ModelConfig(vocab_size=512, wide=dual_path.WideConfig(8),
                                   architecture=["wide"], kv_heads=2)
    write_folder(folder / "written", config, random_parameters(config, 1, 0))
    for path in source.glob("*"):
        if path.suffix in (".json", ".txt"):
            (folder / "written" / path.name).write_bytes(path.read_bytes())
    run(dualpath, "checkpoint", "import", folder / "written", folder / "run")
    run(dualpath, "checkpoint", "export", folder / "run", folder / "exported")
    tokenizer = AutoTokenizer.from_pretrained(folder / "exported", trust_remote_code=True)
    for text, expected in tokenizer_cases(source):
        found = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert found == expected, f"{source}: {text!r}: {found}"
    print(f"tokenizer {source.name}: same ids", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dualpath", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=200)
    arguments = parser.parse_args()
    dualpath = arguments.dualpath.resolve()
    torch.set_num_threads(1)  # small models
    fixtures = sorted((HERE / "fixtures").glob("*.safetensors"))
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        text = scratch / "text.txt"
        text.write_text("".join(f"Line {i}: \"quoted\" text # number {i * 7919 % 1000}.\n"
                                for i in range(300)))
        run(dualpath, "tokenize", text, f"output={scratch / 'corpus'}", "tokenizer.vocab_size=300")
        tokenizers = HERE.parent / "tokenizer_fixture"
        for source in (tokenizers, *(path for path in sorted(tokenizers.iterdir()) if path.is_dir())):
            check_tokenizer(dualpath, source, scratch / f"tokenizer_{source.name}")
        worst, written = {}, []
        for path in fixtures:
            folder = scratch / path.stem
            (folder / "small").mkdir(parents=True)
            (folder / "large").mkdir()
            for dtype, value in check_fixture(dualpath, path, folder / "small").items():
                worst[dtype] = max(worst.get(dtype, 0), value)
            written.append(check_generation(dualpath, path, folder / "large", scratch / "corpus", 300,
                                            arguments.tokens))
            print(f"{path.stem}: same logits, same text of {written[-1]} tokens", flush=True)
    for dtype, value in worst.items():
        print(f"largest error of logits, {dtype}: {value:.2e} (bound {TOLERANCE[dtype]:.2e})")
    print(f"{len(fixtures)} models, {sum(written)} tokens")


if __name__ == "__main__":
    main()
