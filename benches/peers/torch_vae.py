"""The models of `cargo xtask bench` in PyTorch, as AtomAI and pyroVED build them: seconds of an epoch, best of 3.

    python3 -m venv peer && peer/bin/pip install torch numpy
    cargo xtask bench --peer-python peer/bin/python

--model rvae: rotation and translation, spatial decoder; vae: no pose, dense; conv: convolutional encoder, dense decoder;
encode: means and standard deviations of all rows by the encoder of rvae.
"""
import argparse, time
import torch, torch.nn as nn

a = argparse.ArgumentParser()
a.add_argument("--model", default="rvae")
for k, v in dict(size=28, n=2000, hidden=128, batch=100, threads=2).items():
    a.add_argument("--" + k, type=int, default=v)
a.add_argument("--compile", action="store_true")
a.add_argument("--bf16", action="store_true")
o = a.parse_args()
torch.manual_seed(0)
torch.set_num_threads(o.threads)
P, H = o.size, o.hidden
X = torch.rand(o.n, 1, P, P)


def dense(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, H), nn.Tanh(), nn.Linear(H, H), nn.Tanh(), nn.Linear(H, outputs))


class Vae(nn.Module):
    def __init__(s, latents):
        super().__init__()
        if o.model == "conv":
            side = P // 2 // 2
            s.features = nn.Sequential(
                nn.Conv2d(1, 32, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2),
                nn.Conv2d(32, 64, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2),
                nn.Conv2d(64, 64, 3, padding=1), nn.Tanh(), nn.Flatten(),
                nn.Linear(64 * side * side, H), nn.Tanh(), nn.Linear(H, H), nn.Tanh())
        else:
            s.features = nn.Sequential(nn.Flatten(), nn.Linear(P * P, H), nn.Tanh(), nn.Linear(H, H), nn.Tanh())
        s.mean, s.log_sd = nn.Linear(H, latents), nn.Linear(H, latents)
        s.decoder()

    def decoder(s):
        s.dec = dense(2, P * P)

    def encode(s, x):
        h = s.features(x)
        return s.mean(h), s.log_sd(h)

    def logits(s, z):
        return s.dec(z)

    def loss(s, x):
        m, ls = s.encode(x)
        logits = s.logits(m + ls.exp() * torch.randn_like(m)).float()
        rec = nn.functional.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="none").sum(1).mean()
        return rec + (-ls + 0.5 * (2 * ls).exp() + 0.5 * m**2 - 0.5).sum(1).mean()


class RVae(Vae):
    def decoder(s):
        s.coord, s.latent, s.dec = nn.Linear(2, H), nn.Linear(2, H, bias=False), dense(H, 1)
        t = torch.linspace(-1, 1, P)
        s.register_buffer("grid", torch.stack(torch.meshgrid(t, -t, indexing="ij"), -1).reshape(-1, 2))

    def logits(s, z):
        c, si = z[:, 0].cos(), z[:, 0].sin()
        turn = torch.stack([torch.stack([c, si], 1), torch.stack([-si, c], 1)], 1)
        grid = torch.bmm(s.grid.expand(len(z), -1, -1), turn) + 0.1 * z[:, None, 1:3]
        h = s.coord(grid.reshape(-1, 2)).reshape(len(z), -1, H) + s.latent(z[:, 3:])[:, None]
        return s.dec(torch.tanh(h).reshape(-1, H)).reshape(len(z), -1)


net = RVae(5) if o.model in ("rvae", "encode") else Vae(2)
opt = torch.optim.Adam(net.parameters(), 1e-3)
loss_of = torch.compile(net.loss) if o.compile else net.loss


def train():
    for i in range(0, o.n, o.batch):
        opt.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=o.bf16):
            loss = loss_of(X[i : i + o.batch])
        loss.backward()
        opt.step()


@torch.no_grad()
def encode():
    for i in range(0, o.n, 500):
        m, ls = net.encode(X[i : i + 500])
        ls.exp()


once = encode if o.model == "encode" else train
once()
print("seconds", min((lambda t: (once(), time.time() - t)[1])(time.time()) for _ in range(3)))
