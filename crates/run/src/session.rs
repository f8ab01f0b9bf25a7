//! [`Session`]: holds the variables and runs what is fetched from graphs.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use thalweg_kernels::limits::Limits;
use thalweg_kernels::pool::{Pool, PoolError, processors};
use thalweg_kernels::tile::Draw;
use thalweg_plan::Plan;
use thalweg_plan::graph::array::Recycler;
use thalweg_plan::graph::passes::for_evaluation::for_evaluation;
use thalweg_plan::graph::{Array, Fetch, Graph, Root, Tensor, Update, Variable};

use crate::bind::bind;
use crate::cache::{Asked, Cache, Mode, Question};
use crate::compile_times::{CompileTimes, Laps};
use crate::cpu::{Access, Results, Storage, Workspace, pages, result};
use crate::error::RunError;
use crate::executable::{Executable, Machine};
use crate::feed::Feeds;
use crate::profile::Profile;
use crate::state::State;
use crate::variables::{Variables, read_variables};

/// How many plans a session keeps where nothing else is said.
const PLANS: usize = 64;

/// The bytes of dropped results that a session keeps for the next ones.
const KEPT_RESULTS: usize = 256 << 20;

/// Holds the variables and runs what is fetched from graphs.
///
/// All methods take `&self`: a session can be shared between threads. Runs without updates go side by side; a run with
/// updates goes alone. What a run computes is compiled once for each combination of sizes and remembered.
///
/// **State changes once, at the end.** A run that fails changes no variable and does not count as a step.
///
/// **Same seed, same bits**, whatever the number of threads.
///
/// **Memory is used again.** The session keeps what its runs work in, and up to 256 MiB of large results that were
/// dropped, which the next results of the same size take over.
#[derive(Debug)]
pub struct Session {
    pool: Pool,
    memory_limit: usize,
    /// Whether sums are formed as they are defined.
    exact: bool,
    cache: Mutex<Cache<Executable>>,
    variables: RwLock<Variables>,
    /// The memory of runs that are over, for the next.
    workspaces: Mutex<Vec<Workspace>>,
    /// The memory of results that were dropped, for the next.
    results: Recycler,
}

/// A [`Session`] in the making.
#[derive(Clone, Copy, Debug)]
pub struct SessionBuilder {
    threads: Option<usize>,
    seed: u64,
    plans: usize,
    memory_limit: Option<usize>,
    exact: bool,
}

impl SessionBuilder {
    /// So many threads, the calling one included; as many as there are processors where nothing is said.
    pub fn threads(self, threads: usize) -> Self {
        SessionBuilder { threads: Some(threads), ..self }
    }

    /// What random numbers are drawn from, initial values included; 0 where nothing is said.
    pub fn seed(self, seed: u64) -> Self {
        SessionBuilder { seed, ..self }
    }

    /// How many plans are kept, at least 1; the least recently used go. 64 where nothing is said.
    pub fn plan_cache(self, plans: usize) -> Self {
        SessionBuilder { plans: plans.max(1), ..self }
    }

    /// With every product formed as it is defined. Where nothing is said, Winograd's algorithm (Lavin and Gray 2016) saves some
    /// for 3 x 3 kernels where that is faster: F(2x2, 3x3), whose errors are about as large, and in runs without updates and
    /// gradients to weights F(4x4, 3x3), whose errors are about ten times as large. In runs that update variables, and where all
    /// sizes are fixed, large products of matrices go to the matrix units of processors that have them, in pieces of bf16 whose
    /// sums are about as exact or nearer ([`matmul`](thalweg_kernels::matmul) says how). Rows that are picked from a table often
    /// are multiplied in the table, not where they were picked to, which adds up gradients in another order.
    pub fn exact(self) -> Self {
        SessionBuilder { exact: true, ..self }
    }

    /// So many bytes at most for one run; as many as the machine has where nothing is said.
    pub fn memory_limit(self, bytes: usize) -> Self {
        SessionBuilder { memory_limit: Some(bytes), ..self }
    }

    /// The session.
    ///
    /// # Errors
    /// For 0 threads, or more than the system grants.
    pub fn build(self) -> Result<Session, RunError> {
        let pool = match self.threads {
            Some(threads) => Pool::new(threads)?,
            None => default_pool()?,
        };
        Ok(Session {
            pool,
            memory_limit: self.memory_limit.unwrap_or_else(pages::physical_memory),
            exact: self.exact,
            workspaces: Mutex::new(Vec::new()),
            results: Recycler::new(KEPT_RESULTS),
            cache: Mutex::new(Cache::new(self.plans)),
            variables: RwLock::new(Variables::new(self.seed)),
        })
    }
}

/// A thread for each processor; where the system refuses that many, the calling one alone.
fn default_pool() -> Result<Pool, PoolError> {
    Pool::new(processors()).or_else(|_| Pool::new(1))
}

impl Session {
    /// A session on all processors of this machine, with seed 0.
    pub fn cpu() -> Session {
        Session::builder().build().expect("a pool of the calling thread alone needs nothing of the system")
    }

    /// A session with settings.
    ///
    /// ```
    /// use thalweg_run::Session;
    /// let session = Session::builder().threads(1).seed(42).build()?;
    /// assert_eq!((session.threads(), session.seed()), (1, 42));
    /// # Ok::<(), thalweg_run::RunError>(())
    /// ```
    pub fn builder() -> SessionBuilder {
        SessionBuilder { threads: None, seed: 0, plans: PLANS, memory_limit: None, exact: false }
    }

    /// Computes what is fetched from what is fed, and makes the fetched updates happen, all together at the end.
    ///
    /// ```
    /// use thalweg_run::graph::{DType, placeholder};
    /// use thalweg_run::{Session, feeds};
    /// let x = placeholder("x", DType::F32, ["n"]);
    /// let (sum, doubled) = (x.sum(), &x * 2.0);
    /// let (sum, doubled) = Session::cpu().run((&sum, &doubled), feeds! { x => [1.0f32, 2.0] })?;
    /// assert_eq!(sum.item()?, 3.0);
    /// assert_eq!(doubled.as_slice::<f32>()?, [2.0, 4.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the feeds are not those that the fetches need, if an index is out of bounds, if the memory does not suffice.
    pub fn run<F: Fetch>(&self, fetches: F, feeds: Feeds<'_>) -> Result<F::Output, RunError> {
        let arrays = self.answer(&Question { mode: Mode::Run, fetches: &fetches, feeds: &feeds })?;
        Ok(fetches.output(&mut arrays.into_iter()))
    }

    /// As [`run`](Session::run), with the numbers written into arrays of the caller: `outputs` in the order of the
    /// tensors. An array of another dtype or shape is replaced. From the second equal run on nothing is allocated.
    ///
    /// # Errors
    /// As [`run`](Session::run); and if there are not as many arrays as tensors.
    pub fn run_into<F: Fetch>(&self, fetches: F, feeds: Feeds<'_>, outputs: &mut [Array]) -> Result<(), RunError> {
        self.answer_into(&Question { mode: Mode::Run, fetches: &fetches, feeds: &feeds }, outputs)
    }

    /// As [`run`](Session::run) on the graph as it is used after training: dropout lets everything pass and noise is gone,
    /// however they were written.
    ///
    /// # Errors
    /// As [`run`](Session::run); and if updates are fetched, or something that only chance decides.
    pub fn evaluate<F: Fetch>(&self, fetches: F, feeds: Feeds<'_>) -> Result<F::Output, RunError> {
        let arrays = self.answer(&Question { mode: Mode::Evaluate, fetches: &fetches, feeds: &feeds })?;
        Ok(fetches.output(&mut arrays.into_iter()))
    }

    /// The plan that [`run`](Session::run) would follow, compiled now if it is not known: for printing and costs.
    ///
    /// ```
    /// use thalweg_run::graph::{DType, placeholder};
    /// use thalweg_run::{Session, feeds};
    /// let x = placeholder("x", DType::F32, ["n"]);
    /// let plan = Session::cpu().plan((&x * 2.0 + 1.0).exp(), feeds! { x => [1.0f32, 2.0] })?;
    /// assert_eq!(plan.calls.len(), 1);
    /// println!("{plan}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Session::run).
    pub fn plan<F: Fetch>(&self, fetches: F, feeds: Feeds<'_>) -> Result<Arc<Plan>, RunError> {
        let question = Question { mode: Mode::Run, fetches: &fetches, feeds: &feeds };
        Ok(self.executable(&question)?.prepared.plan.clone())
    }

    /// As [`run`](Session::run), with what each call of the plan took, and which kernel did it.
    ///
    /// ```
    /// use thalweg_run::graph::random_normal;
    /// use thalweg_run::graph::DType;
    /// use thalweg_run::{Session, feeds};
    /// let x = random_normal([64, 64], DType::F32);
    /// let (_, profile) = Session::cpu().profile(x.matmul(&x).sum(), feeds! {})?;
    /// println!("{profile}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Session::run).
    pub fn profile<F: Fetch>(&self, fetches: F, feeds: Feeds<'_>) -> Result<(F::Output, Profile), RunError> {
        let executable = self.executable(&Question { mode: Mode::Run, fetches: &fetches, feeds: &feeds })?;
        let plan = executable.prepared.plan.clone();
        let mut arrays = self.room_for_results(&plan);
        let mut workspace = self.workspace();
        workspace.times = Some(vec![Duration::ZERO; plan.calls.len()]);
        let done = self.perform(&mut workspace, &executable, &feeds, &mut arrays);
        let times = workspace.times.take().unwrap_or_default();
        let kernels = executable.prepared.describe();
        self.workspaces().push(workspace);
        done?;
        Ok((fetches.output(&mut arrays.into_iter()), Profile { plan, kernels, times, limits: None }))
    }

    /// What the threads of this session can do at most, measured now in about 0.3 s: to be put beside a
    /// [`profile`](Session::profile). No other run should be under way.
    pub fn limits(&self) -> Limits {
        Limits::measure(&self.pool)
    }

    /// How long it takes to compile what [`run`](Session::run) would follow: it is compiled anew and not kept.
    ///
    /// ```
    /// use thalweg_run::graph::{DType, placeholder};
    /// use thalweg_run::{Session, feeds};
    /// let x = placeholder("x", DType::F32, ["n"]);
    /// let times = Session::cpu().compile_times((&x * 2.0 + 1.0).exp(), feeds! { x => [1.0f32, 2.0] })?;
    /// println!("{:?} of {:?} in passes", times.passes, times.total());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Session::run).
    pub fn compile_times<F: Fetch>(&self, fetches: F, feeds: Feeds<'_>) -> Result<CompileTimes, RunError> {
        let question = Question { mode: Mode::Run, fetches: &fetches, feeds: &feeds };
        let (executable, _) = self.compile(&question)?;
        Ok(executable.times)
    }

    /// The value of a variable; its initial value if nothing has changed it.
    ///
    /// # Errors
    /// If another variable of this name is known, or the initial value needs feeds.
    pub fn read(&self, variable: &Variable) -> Result<Array, RunError> {
        {
            let variables = self.shared();
            if let Some(position) = variables.ready(variable) {
                return Ok(variables.value(position));
            }
        }
        let mut variables = self.exclusive();
        let position = variables.initialize(variable, &|graph, variables| self.initial_value(graph, variables))?;
        Ok(variables.value(position))
    }

    /// Replaces the value of a variable.
    ///
    /// # Errors
    /// If the dtype or the shape is not the variable's.
    pub fn write(&self, variable: &Variable, value: impl Into<Array>) -> Result<(), RunError> {
        self.exclusive().write(variable, &value.into())
    }

    /// The variables that the session has met, by name.
    pub fn variables(&self) -> BTreeMap<String, Variable> {
        self.shared().by_name()
    }

    /// Meets every variable that `fetches` needs, before any run: so that [`load_state`](Session::load_state) knows what
    /// to expect. Initial values are not computed yet.
    ///
    /// # Errors
    /// If two variables have one name.
    pub fn meet(&self, fetches: impl Fetch) -> Result<(), RunError> {
        let graph = captured(&fetches);
        let mut variables = self.exclusive();
        for variable in used_variables(&graph) {
            variables.meet(&variable)?;
        }
        Ok(())
    }

    /// Everything that a checkpoint must hold.
    ///
    /// # Errors
    /// If the initial value of a variable that was met but never used cannot be computed.
    pub fn state(&self) -> Result<State, RunError> {
        self.exclusive().state(&|graph, variables| self.initial_value(graph, variables))
    }

    /// Goes on from `state`: all of it, or nothing.
    ///
    /// # Errors
    /// If the variables that the session has met ([`meet`](Session::meet)) are not those of the state: the message lists
    /// what is missing, unexpected, or of another dtype or shape.
    pub fn load_state(&self, state: &State) -> Result<(), RunError> {
        self.exclusive().load(state)
    }

    /// How many runs with updates there were; random numbers depend on it.
    pub fn step(&self) -> u64 {
        self.shared().step
    }

    /// What random numbers are drawn from.
    pub fn seed(&self) -> u64 {
        self.shared().seed
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// How many plans are remembered.
    pub fn cached_plans(&self) -> usize {
        self.cache().len()
    }

    fn answer(&self, question: &Question<'_, '_>) -> Result<Vec<Array>, RunError> {
        let executable = self.executable(question)?;
        let mut arrays = self.room_for_results(&executable.prepared.plan);
        self.perform_once(&executable, question.feeds, &mut arrays)?;
        Ok(arrays)
    }

    fn answer_into(&self, question: &Question<'_, '_>, outputs: &mut [Array]) -> Result<(), RunError> {
        let executable = self.executable(question)?;
        let plan = &*executable.prepared.plan;
        if plan.fetches.len() != outputs.len() {
            return Err(RunError::Outputs { tensors: plan.fetches.len(), arrays: outputs.len() });
        }
        for (output, &fetch) in outputs.iter_mut().zip(&plan.fetches) {
            let buffer = &plan[fetch];
            if (output.dtype(), output.shape()) != (buffer.dtype, &*buffer.shape) {
                *output = Array::zeros(&buffer.shape, buffer.dtype);
            }
        }
        self.perform_once(&executable, question.feeds, outputs)
    }

    fn perform_once(&self, executable: &Executable, feeds: &Feeds<'_>, outputs: &mut [Array]) -> Result<(), RunError> {
        let mut workspace = self.workspace();
        let done = self.perform(&mut workspace, executable, feeds, outputs);
        self.workspaces().push(workspace);
        done
    }

    /// Runs what was compiled.
    fn perform(
        &self,
        workspace: &mut Workspace,
        executable: &Executable,
        feeds: &Feeds<'_>,
        outputs: &mut [Array],
    ) -> Result<(), RunError> {
        if !executable.has_updates {
            let variables = self.shared();
            let draw = Draw { seed: variables.seed, step: variables.step, first: 0 };
            return self.perform_in(workspace, executable, feeds, draw, &mut Access::Shared(&variables), outputs);
        }
        let mut variables = self.exclusive();
        let draw = Draw { seed: variables.seed, step: variables.step, first: 0 };
        let mut access = Access::Exclusive(&mut variables);
        self.perform_in(workspace, executable, feeds, draw, &mut access, outputs)?;
        variables.step += 1;
        Ok(())
    }

    fn perform_in(
        &self,
        workspace: &mut Workspace,
        executable: &Executable,
        feeds: &Feeds<'_>,
        draw: Draw,
        access: &mut Access<'_>,
        outputs: &mut [Array],
    ) -> Result<(), RunError> {
        let inputs = executable.inputs(feeds, draw);
        workspace.run(&executable.prepared, &self.pool, &inputs, access, Results::Arrays(outputs))
    }

    /// What runs, from the cache or compiled now.
    fn executable(&self, question: &Question<'_, '_>) -> Result<Arc<Executable>, RunError> {
        if let Some(executable) = self.cache().find(question) {
            return Ok(executable);
        }
        // Compiled without the lock, so that other runs go on; two threads may do the same work once.
        let (mut executable, used) = self.compile(question)?;
        let mut variables = self.exclusive();
        // All names first: nothing is initialized if two are equal.
        for variable in &used {
            variables.meet(variable)?;
        }
        for variable in &used {
            variables.initialize(variable, &|graph, variables| self.initial_value(graph, variables))?;
        }
        executable.connect(&variables);
        drop(variables);
        let executable = Arc::new(executable);
        self.cache().insert(question, executable.clone());
        Ok(executable)
    }

    /// What runs, not yet connected to the variables that it uses, and these.
    fn compile(&self, question: &Question<'_, '_>) -> Result<(Executable, Vec<Variable>), RunError> {
        let mut laps = Laps::begin();
        let graph = captured(question.fetches);
        let graph = match question.mode {
            Mode::Run => graph,
            Mode::Evaluate => for_evaluation(graph)?,
        };
        let capture = laps.lap();
        let mut assigned = HashSet::with_capacity(graph.updates().len());
        for (variable, _) in graph.updates() {
            if !assigned.insert(variable.id()) {
                return Err(RunError::AssignedTwice { name: variable.name().to_string() });
            }
        }
        let bindings = bind(&graph, question.feeds)?;
        let used = used_variables(&graph);
        let bind = laps.lap();
        let mut executable = Executable::new(graph, &bindings, question.feeds, self.machine())?;
        executable.times.capture = capture;
        executable.times.bind += bind;
        Ok((executable, used))
    }

    /// The numbers that a graph of an initial value gives: the same at every step.
    fn initial_value(&self, graph: Graph, variables: &Variables) -> Result<Storage, RunError> {
        let feeds = Feeds::new();
        let bindings = bind(&graph, &feeds)?;
        let mut executable = Executable::new(graph, &bindings, &feeds, self.machine())?;
        executable.connect(variables);
        let draw = Draw { seed: variables.seed, step: 0, first: 0 };
        let mut workspace = self.workspace();
        let mut access = Access::Shared(variables);
        let inputs = executable.inputs(&feeds, draw);
        let value = workspace.run_into_storage(&executable.prepared, &self.pool, &inputs, &mut access);
        self.workspaces().push(workspace);
        value
    }

    /// Arrays for what a plan gives.
    fn room_for_results(&self, plan: &Plan) -> Vec<Array> {
        let room = |fetch| {
            let (shape, dtype) = (&plan[fetch].shape[..], plan[fetch].dtype);
            self.results.array_or(shape, dtype, || result(shape, dtype, &self.pool))
        };
        plan.fetches.iter().map(|&fetch| room(fetch)).collect()
    }

    fn machine(&self) -> Machine {
        Machine { threads: self.pool.threads(), memory_limit: self.memory_limit, exact: self.exact }
    }

    /// Memory for a run: of one that is over, or new.
    fn workspace(&self) -> Workspace {
        self.workspaces().pop().unwrap_or_else(Workspace::new)
    }

    fn workspaces(&self) -> MutexGuard<'_, Vec<Workspace>> {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> MutexGuard<'_, Cache<Executable>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> RwLockReadGuard<'_, Variables> {
        self.variables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, Variables> {
        self.variables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The graph of what is fetched.
fn captured(fetches: &dyn Asked) -> Graph {
    let (mut tensors, mut updates): (Vec<Tensor>, Vec<Update>) = (Vec::new(), Vec::new());
    fetches.roots(&mut |root| match root {
        Root::Tensor(tensor) => tensors.push(tensor.clone()),
        Root::Update(update) => updates.push(update.clone()),
    });
    Graph::capture(&tensors, &updates)
}

/// The variables that a graph reads or changes.
fn used_variables(graph: &Graph) -> Vec<Variable> {
    let updated = graph.updates().iter().map(|(variable, _)| variable.clone());
    read_variables(graph).into_iter().chain(updated).collect()
}
