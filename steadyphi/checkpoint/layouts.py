"""Tensor names of the checkpoint layouts, each as one table that is read in both directions."""

# lit-gpt's name -> the names in today's Hub layout whose rows, one below the other, make that tensor.
# {n} is the layer, {kind} weight or bias.
HUB = {
    "lm_head.{kind}": ("lm_head.{kind}",),
    "transformer.wte.{kind}": ("model.embed_tokens.{kind}",),
    "transformer.h.{n}.norm_1.{kind}": ("model.layers.{n}.input_layernorm.{kind}",),
    "transformer.h.{n}.attn.qkv.{kind}": (
        "model.layers.{n}.self_attn.q_proj.{kind}",
        "model.layers.{n}.self_attn.k_proj.{kind}",
        "model.layers.{n}.self_attn.v_proj.{kind}",
    ),
    "transformer.h.{n}.attn.proj.{kind}": ("model.layers.{n}.self_attn.dense.{kind}",),
    "transformer.h.{n}.mlp.fc.{kind}": ("model.layers.{n}.mlp.fc1.{kind}",),
    "transformer.h.{n}.mlp.proj.{kind}": ("model.layers.{n}.mlp.fc2.{kind}",),
    "transformer.ln_f.{kind}": ("model.final_layernorm.{kind}",),
}


def hub_parts(litgpt_name: str) -> tuple[str, ...]:
    """Return the Hub tensors that make up a lit-gpt tensor, in the order of their rows."""
    *path, kind = litgpt_name.split(".")
    layer = path[2] if path[:2] == ["transformer", "h"] else ""
    key = ".".join([*path[:2], "{n}", *path[3:]] if layer else path)
    return tuple(name.format(n=layer, kind=kind) for name in HUB[f"{key}.{{kind}}"])
