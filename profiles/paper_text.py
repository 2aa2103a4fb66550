"""The parts of the study's profiles that are text: heads, shared sections, notes. See `paper.py`."""

SCHEMA = "# yaml-language-server: $schema=../params.schema.json\n"

MACHINE = """\
machine:                      # where and how to compute, never what: no stage depends on it
  data_root: data/raw         # the environment variable DECANT_DATA goes first
  download: false             # fetch CIFAR-100 into data_root where it is absent
  device: auto
  threads: 1
  workers: 0
"""
DATASET = """\
dataset:
  name: cifar100
  image_size: 32
  test_fraction: null         # CIFAR has a test set of its own
  validation_fraction: {validation}
  subset_fraction: {subset}
  seed: 0
  mean: [0.5071, 0.4867, 0.4408]
  std: [0.2675, 0.2565, 0.2761]

augmentation: {{pad: 4, flip: true}}
"""
TRAINING = """\
training:                     # the field's recipe; an entry's own `training` overrides keys of it
  epochs: 240
  batch_size: 64
  learning_rate: 0.05
  momentum: 0.9
  weight_decay: 5e-4
  schedule: {name: step, milestones: [150, 180, 210], factor: 0.1}
  evaluate_every: 10          # for the curves; the last epoch is the result and nothing is selected
  precision: float32
"""
METHODS = """\
methods:
  kd: {loss: kd, temperature: 4.0, gamma: 0.1, alpha: 0.9}
  kd-soft-only: {loss: kd_soft_only, temperature: 4.0}
  rescaled: {loss: rescaled, gamma: 0.1, alpha: 0.9}
"""
EVALUATION = """\
evaluation:
  vscore:
    groups:                   # the study's similar and different classes
      similar: [baby, boy, girl, man, woman]
      different: [beaver, apple, aquarium_fish, rocket, turtle]
    seed: 0
    n_init: 10
  tsne: {{images_per_class: 100, perplexity: {perplexity}, seed: 0}}
  floors: {{teachers: null, baselines: null, students: null}}
  paper_tables: true          # tables and figures of the study, and tables of later methods
"""

PAPER_HEAD = """\
# The study: tables 1-3 and figures 1-3 of "Understanding the Role of Mixup in Knowledge Distillation: An
# Empirical Study" (Choi, Jeon, Shukla, Turaga; WACV 2023, with its supplement), at full length, and
# what it concludes without a table (students of mixup-trained teachers). It takes a GPU, days and 50 GB:
# see `decant plan cifar100-paper`.
#
# Written by profiles/paper.py: change it there. Seeds: teachers 0, baselines 10 to 12, students
# 100 to 102, views 1. Networks of equal seeds start from equal weights and see the images in equal
# order, so that methods are compared in pairs.
"""
ALONE_NOTE = """\
Networks alone, three replicates: the baseline row of tables 1 and 2, the students alone of table 3
and the bars of figure 3. A network that also teaches is here again, with other seeds: a teacher is
one network, and a deviation needs several. Table 3's column of teachers shows the teachers."""
DUMPS_NOTE = """\
As many stratified plain views as there are crops and flips (9 x 9 x 2 = 162): each image meets
every one of them once. resnet56 has one for each epoch, for the question of how many are enough
(from the 163rd on, an image meets again what it has met, in another order). As many mixed views as
epochs, for no two mixed images are alike. All dumps have one seed, so that all teachers are seen on
the same images. Features of views stay out: no method here reads them, and resnet50's would take 20
times the room of its logits."""
AS_CODED_NOTE = """\
Partial mixup as the study's released code draws it. Its option is the share that is not mixed,
drawn with replacement: in batches of 64, its 10 and 50 % are really 40.8 and 60.4 %."""
FOUR_CASES_NOTE = """\
Mixup of the teacher and of the student, resnet56 -> resnet20 by KD: with resnet56-resnet20-kd and
resnet56-mixup-resnet20-kd above, these two complete the four cases."""
VIEWS_NOTE = """\
How many views are enough: KD with the first views of the store alone; resnet56-resnet20-kd in table 1
reads all of them."""

BEYOND_HEAD = """\
# Beyond the study: later logit losses (logit standardisation, DKD, DIST, logit matching) on the pairs of
# table 3, without mixup, with 10 and 50 % of the images mixed and with all of them. No share is picked
# by its accuracy: all are run. Teachers, stores, baselines and KD are the entries of cifar100-paper,
# letter for letter, so that DVC's cache serves both.
#
# Written by profiles/paper.py: change it there.
"""
BEYOND_METHODS = """\
methods:
  # As in cifar100-paper, to compare with.
  kd: {loss: kd, temperature: 4.0, gamma: 0.1, alpha: 0.9}
  # Logit standardisation (Sun et al., CVPR 2024): base temperature 2 and weight 9 for all pairs, which
  # are the defaults of tools/train.py and the commands of the README in the authors' code
  # (sunshangquan/logit-standardization-KD); CE weight 0.1 from mdistiller/engine/cfg.py, deviation,
  # epsilon and T^2 from mdistiller/distillers/KD.py there. The names of their log files show other values
  # for four of these pairs (vgg13: T 3; resnet50-mobilenetv2: T 3, weight 1; resnet110-resnet20: T 4,
  # weight 12); a choice for each pair by test accuracy is not repeated here.
  zscore: {loss: zscore, temperature: 2.0, gamma: 0.1, alpha: 9.0}
  # DKD (Zhao et al., CVPR 2022): T 4, alpha 1, CE weight 1, 20 epochs of warm-up (mdistiller/engine/cfg.py
  # of megvii-research/mdistiller); beta for each pair from its configs/cifar100/dkd, 8 where a file names
  # none. resnet110-resnet20 and resnet50-vgg8 have no file: the value of the teacher's other pair.
  # Mixed targets: both classes' losses, weighted as in the target (see pipeline/losses/decoupled.py).
  dkd-beta2: {loss: dkd, temperature: 4.0, gamma: 1.0, alpha: 1.0, beta: 2.0, warmup_epochs: 20}
  dkd-beta6: {loss: dkd, temperature: 4.0, gamma: 1.0, alpha: 1.0, beta: 6.0, warmup_epochs: 20}
  dkd-beta8: {loss: dkd, temperature: 4.0, gamma: 1.0, alpha: 1.0, beta: 8.0, warmup_epochs: 20}
  # DIST (Huang et al., NeurIPS 2022) on CIFAR-100: T 4 and weights 1, 2 and 2, which the authors' code
  # writes as CE weight 1 and twice (1 and 1) for the relations (`kd: dist_t4`, `kd_loss_weight: 2` in
  # configs/strategies/distill/dist_cifar.yaml of the first author's training code, for example in
  # classification/ of hunto/LocalMamba; T^2 is in its lib/models/losses/dist_kd.py).
  dist: {loss: dist, temperature: 4.0, gamma: 1.0, inter: 2.0, intra: 2.0}
  # Logit matching (Kim et al., IJCAI 2021): the squared error alone, without labels, as in the authors'
  # code (jhoon-oh/kd_data, code/image_classfication/tools/traineval.py, `l2_logit`).
  mse: {loss: mse, gamma: 0.0, alpha: 1.0}
"""

CPU_HEAD = """\
# The study in miniature, for two cores and a quarter of an hour: real images of CIFAR-100 and every kind of
# cell of tables 1-3 and figures 1-3, with three networks, 10 training images a class and two epochs. It
# shows that everything works and looks as it should; its accuracies, a few percent, say nothing. They
# are measured on 5 held-out training images a class, as if those were the test set: the real one would
# take longer than the training.
#
# Written by profiles/paper.py: change it there.
"""
CPU_TRAINING = """\
training:
  epochs: 2
  batch_size: 32              # so that batch normalisation has steps enough for its averages
  learning_rate: 0.05
  momentum: 0.9
  weight_decay: 5e-4
  schedule: {name: one_cycle, warmup: 0.25}
  evaluate_every: 1
  precision: float32
"""
