import sys, hashlib, json, warnings
import numpy as np, torch
warnings.simplefilter("ignore")
from isthmus import Autoencoder, AnomalyDetector, presets
rng=np.random.default_rng(0)
T=rng.normal(size=(300,8)); T[:,3]=T[:,0]+T[:,1]; U=(T-T.min(0))/(T.max(0)-T.min(0))
I=rng.random((120,1,8,8)); 
def h(*a):
    d=hashlib.sha256()
    for x in a: d.update(np.ascontiguousarray(np.asarray(x)).tobytes())
    return d.hexdigest()[:16]
small=dict(latent_dim=3,epochs=3,seed=0)
names=["autoencoder","vae","beta_vae","denoising","contractive","sparse","top_k","vq_vae","wae","iwae","mmd_vae","deep","conv_vae","conv_autoencoder","aae","info_vae","fsq","miwae","imputer"]
out={}; n=0
for name in names:
    try: rec=presets.get(name)
    except Exception as e: continue
    X=I if name.startswith("conv") else U
    try: rec=rec.replace({"training.epochs":3,"training.seed":0})
    except Exception as e: print(name,e); continue
    try:
        m=Autoencoder(rec).fit(X)
        out[name]=h(*[v.detach().numpy() for k,v in sorted(m.composition_.state_dict().items())], m.transform(X), m.score_samples(X))
    except Exception as e: print(name,"failed",repr(e)[:150])
d=AnomalyDetector("denoising",alpha=0.05,random_state=0).fit(T)
out["detector"]=h(d.calibration_,d.score_samples(T+0.1))
import isthmus; print(isthmus.__file__, len(out)); print(json.dumps(out))
