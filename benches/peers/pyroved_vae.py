"""The invariant VAE of pyroVED with shifts: held-out −ELBO after every epoch, for `cargo xtask bench --quality DATA`.

    python3 -m venv peer && peer/bin/pip install torch numpy pyroved
    cargo xtask bench --quality cards3.npz --peer-python peer/bin/python

DATA holds `images` (N,H,W) in [0,1]; the last tenth of the rows is held out. Lines of epoch, seconds of training alone, −ELBO.
"""
import argparse, time
import numpy as np, torch, pyroved as pv

a = argparse.ArgumentParser()
a.add_argument("data")
for k, v in dict(epochs=60, seed=0, threads=2).items():
    a.add_argument("--" + k, type=int, default=v)
o = a.parse_args()
torch.set_num_threads(o.threads)
x = torch.tensor(np.load(o.data)["images"])
kept = len(x) - len(x) // 10
train, test = x[:kept], x[kept:]
model = pv.models.iVAE(x.shape[1:], latent_dim=2, invariances=["r", "t"], seed=o.seed,
                       hidden_dim_e=[128, 128], hidden_dim_d=[128, 128])
loader, trainer = pv.utils.init_dataloader(train, batch_size=100), pv.trainers.SVItrainer(model)


def negative_elbo(draws=8):
    """As pyroVED's own guide and model draw and place the latents."""
    total = 0.0
    with torch.no_grad():
        mean, sd = model.encoder_z(test)
        divergence = (-sd.log() + 0.5 * sd**2 + 0.5 * mean**2 - 0.5).sum(1).mean()
        for _ in range(draws):
            angle, shift, scale, z = model.split_latent(mean + sd * torch.randn_like(sd))
            grid = model.grid.expand(len(test), *model.grid.shape)
            grid = pv.utils.transform_coordinates(grid, angle, (shift * model.t_prior).unsqueeze(1), scale)
            image = model.decoder(grid, z).reshape(len(test), -1).clamp(1e-6, 1 - 1e-6)
            target = test.reshape(len(test), -1)
            total += torch.nn.functional.binary_cross_entropy(image, target, reduction="none").sum(1).mean()
    return float(total / draws + divergence)


spent = 0.0
for epoch in range(1, o.epochs + 1):
    start = time.perf_counter()
    trainer.step(loader)
    spent += time.perf_counter() - start
    print(epoch, f"{spent:.3f} {negative_elbo():.4f}", flush=True)
