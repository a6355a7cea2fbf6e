"""The methods of `cargo xtask bench --classical` by scikit-learn and umap-learn: a line `name,seconds,score` for each.

    python3 -m venv peer && peer/bin/pip install scikit-learn umap-learn
    cargo xtask bench --classical --peer-python peer/bin/python

    peer/bin/python sklearn_baselines.py data.npz folder     # `rows` of the file; places of Isomap, t-SNE and UMAP go to the folder

Parameters and rows are those of the comparison in the README; the best of up to three runs, as many as fit in ten seconds.
All cores are theirs; UMAP has no seed, which would keep it on one. It compiles itself in its first run, which does not count.
"""
import os, sys, time, warnings
import numpy as np
from sklearn.cluster import DBSCAN, KMeans
from sklearn.decomposition import NMF, PCA
from sklearn.manifold import TSNE, Isomap
from sklearn.mixture import GaussianMixture
import umap

warnings.filterwarnings("ignore")
x, folder = np.load(sys.argv[1])["rows"], sys.argv[2]


def timed(name, make, rows, score, warm=False):
    best, total = np.inf, 0.0
    if warm:
        make().fit(rows)
    for _ in range(3):
        start = time.time()
        model = make().fit(rows)
        best, total = min(best, time.time() - start), total + time.time() - start
        if total > 10:
            break
    print(f"{name},{best},{score(model)}", flush=True)
    return model


def placed(name, make, rows, warm=False):
    model = timed(name, make, rows, lambda m: "", warm)
    np.save(os.path.join(folder, f"{name}.npy"), model.embedding_.astype(np.float32))


pca = timed("PCA", lambda: PCA(20), x, lambda m: m.explained_variance_ratio_.sum())
z = pca.transform(x)
timed("k-means", lambda: KMeans(10, n_init=10, random_state=0), x, lambda m: m.inertia_)
timed("Gaussian mixture", lambda: GaussianMixture(10, max_iter=100, random_state=0), z, lambda m: m.score(z))
timed("NMF", lambda: NMF(10, max_iter=200, random_state=0), x, lambda m: m.reconstruction_err_)
radius = np.median(np.linalg.norm(z - np.roll(z, 1, 0), axis=1)) * 0.3
timed("DBSCAN", lambda: DBSCAN(eps=radius, n_jobs=-1), z, lambda m: m.labels_.max() + 1)
placed("Isomap", lambda: Isomap(n_components=2, n_neighbors=10, n_jobs=-1), z[:3000])
placed("t-SNE", lambda: TSNE(2, random_state=0, n_jobs=-1), z[:3000])
placed("UMAP", lambda: umap.UMAP(n_jobs=-1), x, warm=True)
